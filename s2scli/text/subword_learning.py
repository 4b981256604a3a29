"""Learning a SentencePiece model (Kudo and Richardson 2018) from text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import sentencepiece

from s2scli.console import counted, notice
from s2scli.errors import DataError, UsageError
from s2scli.text.escaping import escape
from s2scli.text.tokenizer import LearningSettings, LearningText, report_size
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS

DEFAULT_VOCAB_SIZE = 8000
# Names that escaped text cannot hold.
_BOS_NAME, _PAD_NAME, _EOS_NAME, _UNK_NAME = (f"\u2585{symbol}" for symbol in FAIRSEQ_SYMBOLS.names)
# Learning takes a time that grows with the square of a line that repeats itself. Lines over SentencePiece's own limit
# of bytes are learnt from in parts, cut at white space where there is some, of so many characters at most.
_LEARNT_WHOLE, _PART = 4192, 1024
# The sums of the unigram model depend on how the work is divided, so the number of threads is fixed.
_NUM_THREADS = 4


def learnt_parts(text: str) -> list[str]:
    """The parts of escaped text that a model learns from, all of it: one, unless it is very long."""
    if len(text) <= _PART or len(text.encode()) <= _LEARNT_WHOLE:
        return [text]
    parts: list[str] = []
    start = 0
    while len(text) - start > _PART:
        # The space stays with the word after it, as everywhere.
        space = text.rfind(" ", start + 1, start + _PART + 1)
        end = space if space > start else start + _PART
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]]


def train(corpus: LearningText, settings: LearningSettings) -> bytes:
    """Train a SentencePiece model and return its file."""
    size = settings.vocab_size or DEFAULT_VOCAB_SIZE
    num_long = 0

    def sentences() -> Iterator[str]:
        nonlocal num_long
        for parts in corpus():
            for index in range(0, len(parts), 2):
                if parts[index]:
                    found = learnt_parts(escape(parts[index], first=index == 0))
                    num_long += len(found) > 1
                    yield from found

    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=writer,
            vocab_size=size,
            model_type=settings.sentencepiece_model,
            character_coverage=settings.character_coverage,
            split_digits=settings.split_digits,
            byte_fallback=settings.byte_fallback,
            user_defined_symbols=list(settings.user_symbols),
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            hard_vocab_limit=False,
            max_sentence_length=_LEARNT_WHOLE,
            num_threads=_NUM_THREADS,
            minloglevel=2,
            bos_id=0,  # <s>, which nothing reads
            pad_id=FAIRSEQ_SYMBOLS.padding,
            eos_id=FAIRSEQ_SYMBOLS.end,
            unk_id=FAIRSEQ_SYMBOLS.unknown,
            bos_piece=_BOS_NAME,
            pad_piece=_PAD_NAME,
            eos_piece=_EOS_NAME,
            unk_piece=_UNK_NAME,
        )
    except RuntimeError as error:
        raise _explain(error) from None
    if num_long:
        notice(
            f"{settings.name}: {counted(num_long, 'line')} over {_LEARNT_WHOLE:,} bytes learnt from in parts"
        )
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
            f"{counted(int(too_small[2]), 'symbol')}; raise it, or lower --character-coverage"
        )
    if "required_chars_.empty()" in message or "sentences_.empty()" in message:
        return DataError("the training text is blank: there is nothing to learn a vocabulary from")
    return DataError(f"SentencePiece cannot learn from the training text: {message}")
