"""SentencePiece subwords (Kudo and Richardson 2018), set so that decoding gives the text back.

SentencePiece rewrites a space as U+2581, silently drops training lines with U+2585, and takes the names of
its control symbols out of the text it learns from. So U+2581 and U+2585 in text are escaped with U+2582, and
the control symbols get names that escaped text cannot hold.
"""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import sentencepiece

from s2scli.errors import DataError, UsageError
from s2scli.text.normalization import Normalization
from s2scli.text.tokenizer import (
    LearningSettings,
    LearningText,
    Tokenizer,
    check_dictionary,
    common_parts,
    report_size,
)
from s2scli.text.vocabulary import NUM_SPECIAL, SPECIAL_SYMBOLS, UNK, Vocabulary, select_symbols

DEFAULT_VOCAB_SIZE = 8000
_SPACE = "\u2581"
_ESCAPE = str.maketrans({"\u2582": "\u2582\u2582", _SPACE: "\u25821", "\u2585": "\u25825"})
_UNESCAPE = {"\u2582\u2582": "\u2582", "\u25821": _SPACE, "\u25825": "\u2585"}
_RESERVED = "\u2581\u2582\u2585"
_ESCAPED = re.compile("\u2582[\u258215]")
_BOS_NAME, _PAD_NAME, _EOS_NAME, _UNK_NAME = (f"\u2585{symbol}" for symbol in SPECIAL_SYMBOLS)
_MAX_SENTENCE_BYTES = 2**30
# The sums of the unigram model depend on how the work is divided, so the number of threads is fixed.
_NUM_THREADS = 4


class SentencePieceTokenizer(Tokenizer):
    """Splits with a SentencePiece model; pieces that are not in the vocabulary become UNK."""

    kind = "sentencepiece"

    def __init__(
        self,
        model: bytes,
        vocabulary: Vocabulary,
        normalization: Normalization | None = None,
        user_symbols: Sequence[str] = (),
    ) -> None:
        super().__init__(vocabulary, normalization, user_symbols)
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        ids = [UNK] * NUM_SPECIAL + [vocabulary.lookup(piece) for piece in _pieces(self._processor)]
        straight = ids[NUM_SPECIAL:] == list(range(NUM_SPECIAL, len(ids)))
        self._vocabulary_ids = None if straight else ids

    @classmethod
    def learn(cls, corpus: LearningText, settings: LearningSettings, normalization: Normalization) -> Self:
        """Train a SentencePiece model, then leave out the pieces that thresholds or dictionary exclude."""
        for symbol in settings.user_symbols:
            if any(character in symbol for character in _RESERVED):
                raise UsageError(f"--user-symbols: {symbol!r} holds a character that SentencePiece reserves")
        model = _train(corpus, settings)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        pieces = _pieces(processor)
        everything = cls(model, Vocabulary(pieces, [0] * len(pieces)), normalization, settings.user_symbols)
        if settings.dictionary is not None:
            check_dictionary(settings.dictionary, settings.user_symbols)
            return cls(model, settings.dictionary, normalization, settings.user_symbols)
        if settings.threshold <= 0 and settings.num_words <= 0:
            return everything
        counts: Counter[int] = Counter()
        for parts in corpus():
            counts.update(everything.encode_parts(parts))
        vocabulary = select_symbols(
            {piece: counts[token] for token, piece in enumerate(pieces, start=NUM_SPECIAL)},
            threshold=settings.threshold,
            num_words=settings.num_words,
            user_symbols=settings.user_symbols,
        )
        return cls(model, vocabulary, normalization, settings.user_symbols)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Make a tokenizer from what `to_bytes` wrote."""
        return cls(base64.b64decode(document["model"], validate=True), *common_parts(document))

    def document(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values; the model is SentencePiece's own file in base64."""
        return super().document() | {"model": base64.b64encode(self.model).decode("ascii")}

    def _encode_part(self, text: str, *, first: bool) -> list[int]:
        # The space at the start makes the first word of a line the same piece as in the middle of one.
        return self._to_vocabulary(self._processor.encode(_escape(text, first=first)))

    def _to_vocabulary(self, ids: list[int]) -> list[int]:
        return ids if self._vocabulary_ids is None else [self._vocabulary_ids[token] for token in ids]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of some lines; one call of SentencePiece for all of them takes half the time."""
        parts = [self.normalization.split(text, self._symbol_pattern) for text in texts]
        if self._symbol_pattern is not None:
            return [self.encode_parts(part) for part in parts]
        # Where nothing is left of a line there is nothing to put a space before.
        lines = [_escape(part[0], first=True) if part[0] else "" for part in parts]
        found: list[list[int]] = self._processor.encode(lines, num_threads=1)
        return [self._to_vocabulary(ids) for ids in found]

    def encode_by(self, segment: Callable[[str], list[int]], text: str) -> list[int]:
        """Encode a line as `encode` does, but segmented in another way than the model's best.

        segment: gives the model's own ids of escaped text.
        """

        def encode_part(part: str, *, first: bool) -> list[int]:
            return self._to_vocabulary(segment(_escape(part, first=first)))

        return self.encode_parts(self.normalization.split(text, self._symbol_pattern), encode_part)

    def model_ids_in_vocabulary(self) -> list[bool]:
        """For each id of the model, whether the vocabulary has its piece."""
        if self._vocabulary_ids is None:
            return [token >= NUM_SPECIAL for token in range(len(self._processor))]
        return [token != UNK for token in self._vocabulary_ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Join ids to text; <s>, <pad> and </s> are skipped, an unknown token shows as <unk>."""
        pieces = self._visible_pieces(ids)
        if not self.user_symbols:
            return _unescape("".join(pieces)).removeprefix(" ")
        parts = [""]
        for piece in pieces:
            if piece in self.user_symbols:
                parts += [piece, ""]
            else:
                parts[-1] += piece
        parts[::2] = map(_unescape, parts[::2])
        parts[0] = parts[0].removeprefix(" ")
        return "".join(parts)


def _escape(text: str, *, first: bool) -> str:
    # Translating takes a third of the time of encoding, and few texts need it.
    if any(character in text for character in _RESERVED):
        text = text.translate(_ESCAPE)
    return f" {text}" if first else text


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: _UNESCAPE[match[0]], text.replace(_SPACE, " "))


def _pieces(processor: sentencepiece.SentencePieceProcessor) -> list[str]:
    """The pieces of a model but the special ones, in the order of their ids."""
    return [processor.id_to_piece(token) for token in range(NUM_SPECIAL, len(processor))]


def _train(corpus: LearningText, settings: LearningSettings) -> bytes:
    """Train a SentencePiece model and return its file."""
    size = settings.vocab_size or DEFAULT_VOCAB_SIZE

    def sentences() -> Iterator[str]:
        for parts in corpus():
            for index in range(0, len(parts), 2):
                if parts[index]:
                    yield _escape(parts[index], first=index == 0)

    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=writer,
            vocab_size=size,
            model_type=settings.sentencepiece_model,
            character_coverage=settings.character_coverage,
            split_digits=settings.split_digits,
            user_defined_symbols=list(settings.user_symbols),
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            hard_vocab_limit=False,
            max_sentence_length=_MAX_SENTENCE_BYTES,
            num_threads=_NUM_THREADS,
            minloglevel=2,
            bos_id=0,
            pad_id=1,
            eos_id=2,
            unk_id=3,
            bos_piece=_BOS_NAME,
            pad_piece=_PAD_NAME,
            eos_piece=_EOS_NAME,
            unk_piece=_UNK_NAME,
        )
    except RuntimeError as error:
        raise _explain(error) from None
    model = writer.getvalue()
    learned = len(sentencepiece.SentencePieceProcessor(model_proto=model))
    report_size(learned, size, settings.name)
    return model


def _explain(error: RuntimeError) -> Exception:
    """What a failure of SentencePiece's trainer means to the user."""
    message = str(error)
    if too_small := re.search(r"required_chars\. (\d+) vs (\d+)", message):
        return UsageError(
            f"--vocab-size {too_small[1]} is too small: the characters of the training text need "
            f"{too_small[2]} symbols; raise it, or lower --character-coverage"
        )
    if "required_chars_.empty()" in message or "sentences_.empty()" in message:
        return DataError("the training text is blank: there is nothing to learn a vocabulary from")
    return DataError(f"SentencePiece cannot learn from the training text: {message}")
