"""Sampled subwords: the limits are SentencePiece's own segmentation, and in between the distribution is exact."""

from __future__ import annotations

import io
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
import sentencepiece
from fairseq_symbols import NUM_SPECIAL, UNK
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s2scli.components import TOKENIZERS
from s2scli.errors import UsageError
from s2scli.text import bpe_dropout, unigram_sampling
from s2scli.text.bpe_dropout import BpeDropout
from s2scli.text.normalization import Normalization, user_symbol_pattern
from s2scli.text.piece_model import BYTE, UNKNOWN, USER_DEFINED, WORD_START, read_piece_model
from s2scli.text.subword import SentencePieceTokenizer
from s2scli.text.subword_sampling import SubwordSampling, word_starts
from s2scli.text.tokenizer import LearningSettings, Tokenizer
from s2scli.text.unigram_sampling import UnigramSampler
from s2scli.text.vocabulary import Vocabulary

STEMS = ("walk", "talk", "sing", "read", "think", "play")
ENDINGS = ("", "ing", "er", "ed", "s")
ALPHABET = "".join(sorted(set("".join(STEMS + ENDINGS)))) + " <ENT>\u2581\u2582\u2585中x☃"
CERTAIN = 1e9
KINDS = ("unigram", "bpe")


def lines() -> list[str]:
    draw = random.Random(1)
    return [
        " ".join(draw.choice(STEMS) + draw.choice(ENDINGS) for _ in range(draw.randint(2, 9)))
        for _ in range(300)
    ]


@cache
def learn(model: str, normalization: Normalization | None = None, **limits: object) -> SentencePieceTokenizer:
    """A tokenizer that knows neither x nor ☃ nor 中."""
    normalization = normalization or Normalization()
    symbols = ("<ENT>", "<E>")
    return SentencePieceTokenizer.learn(
        lambda: (normalization.split(line, user_symbol_pattern(symbols)) for line in lines()),
        LearningSettings(sentencepiece_model=model, vocab_size=64, user_symbols=symbols, **limits),  # type: ignore[arg-type]
        normalization,
    )


def learn_many_pieces() -> SentencePieceTokenizer:
    """A unigram model with many ways to split a word."""
    draw = random.Random(1)
    words = ["".join(draw.choices("ab", k=draw.randint(1, 8))) for _ in range(400)]
    text = [" ".join(draw.choices(words, k=6)) for _ in range(400)]
    return SentencePieceTokenizer.learn(
        lambda: ([line] for line in text), LearningSettings(vocab_size=60), Normalization()
    )


@cache
def learn_with_bytes(model: str) -> SentencePieceTokenizer:
    """One that spells unknown characters by their bytes."""
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f" {line}" for line in lines()]),
        model_writer=writer,
        model_type=model,
        vocab_size=330,
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        minloglevel=2,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=writer.getvalue())
    pieces = [processor.id_to_piece(token) for token in range(NUM_SPECIAL, len(processor))]
    return SentencePieceTokenizer(writer.getvalue(), Vocabulary(pieces, [0] * len(pieces)))


def draws(seed: int = 1) -> Iterator[float]:
    draw = random.Random(seed)
    return iter(draw.random, None)


def sampling(tokenizer: Tokenizer, *, alpha: float = 0.2, dropout: float = 0.1) -> SubwordSampling:
    return SubwordSampling(tokenizer, alpha=alpha, dropout=dropout, side="source")


@pytest.mark.parametrize("model", KINDS)
@given(text=st.one_of(st.text(ALPHABET), st.lists(st.sampled_from(STEMS)).map("".join)))
@example(text="")
@example(text="  ")
@example(text=" walking  talker ")
@example(text="walk<ENT>ing <E> sings<ENT><ENT>")
@example(text="☃☃ 中x☃walk☃ing☃")
@example(text="☃ ☃")
@example(text="walkingtalkedsingersreadingthinksplayed" * 3)
@settings(max_examples=150, deadline=None)
def test_without_chance_it_is_plain_encoding(model: str, text: str) -> None:
    """All mass on the best segmentation, or merges left out next to never; also where words are too long to be kept."""
    for tokenizer in (learn(model), learn(model, threshold=40), learn_with_bytes(model)):
        for dropout in (0, 1e-20):
            certain = sampling(tokenizer, alpha=CERTAIN, dropout=dropout)
            assert certain.encode(text, draws()) == tokenizer.encode(text)


@pytest.mark.parametrize("model", KINDS)
@given(text=st.text(ALPHABET), seed=st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_samples_spell_the_same_text(model: str, text: str, seed: int) -> None:
    for tokenizer in (learn(model), learn_with_bytes(model)):
        plain = tokenizer.encode(text)
        sample = sampling(tokenizer, dropout=0.5).encode(text, draws(seed))
        assert sample.count(UNK) == plain.count(UNK)
        assert len(sample) >= len(plain) or model == "unigram"
        if tokenizer.user_symbols:
            for symbol in tokenizer.user_symbols:
                token = tokenizer.vocabulary.lookup(symbol)
                assert sample.count(token) == plain.count(token)
            assert tokenizer.decode(sample) == tokenizer.decode(plain)
        else:  # our own way back knows no bytes
            processor = tokenizer._processor
            assert processor.decode(sample) == processor.decode(plain)


def segmentations(word: str, pieces: dict[str, int]) -> Iterator[tuple[int, ...]]:
    """All of them, by the definition."""
    for cuts in itertools.product((False, True), repeat=len(word) - 1):
        borders = [0, *(place for place, cut in enumerate(cuts, 1) if cut), len(word)]
        parts = [word[start:end] for start, end in itertools.pairwise(borders)]
        if all(part in pieces for part in parts):
            yield tuple(pieces[part] for part in parts)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_the_unigram_distribution_is_exact(alpha: float) -> None:
    """Total variation from P(x)^α over all segmentations, enumerated; twice as much as chance leaves on average."""
    tokenizer = learn_many_pieces()
    processor = tokenizer._processor
    pieces = {processor.id_to_piece(token): token for token in range(NUM_SPECIAL, len(processor))}
    word = f"{WORD_START}abababa"
    weights = {
        ids: math.exp(alpha * sum(processor.get_score(token) for token in ids))
        for ids in segmentations(word, pieces)
    }
    assert len(weights) > 10
    model = read_piece_model(tokenizer.model)
    sampler = UnigramSampler(model, tokenizer.model_ids_in_vocabulary(), alpha)
    number, stream = 20000, draws()
    found = Counter(tuple(sampler.sample_word(word, stream)) for _ in range(number))
    assert found.keys() <= weights.keys()
    shares = {ids: weight / sum(weights.values()) for ids, weight in weights.items()}
    distance = sum(abs(found[ids] / number - share) for ids, share in shares.items()) / 2
    expected = sum(math.sqrt(2 / math.pi * share * (1 - share) / number) for share in shares.values()) / 2
    assert distance < 2 * expected


def bpe_distribution(
    units: tuple[str, ...], dropout: float, scores: dict[str, float]
) -> Counter[tuple[str, ...]]:
    """Provilkov et al. (2020), Algorithm 1, with every merge's fate enumerated."""
    merges = sorted(
        (-scores[units[place] + units[place + 1]], place)
        for place in range(len(units) - 1)
        if units[place] + units[place + 1] in scores
    )
    found: Counter[tuple[str, ...]] = Counter()
    for dropped in itertools.product((False, True), repeat=len(merges)):
        probability = math.prod(dropout if fate else 1 - dropout for fate in dropped)
        left = [place for (_, place), fate in zip(merges, dropped, strict=True) if not fate]
        if not left:
            found[units] += probability  # type: ignore[assignment]
            continue
        merged = (*units[: left[0]], units[left[0]] + units[left[0] + 1], *units[left[0] + 2 :])
        for result, share in bpe_distribution(merged, dropout, scores).items():
            found[result] += probability * share  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("dropout", [0.1, 0.5])
@pytest.mark.parametrize("long", [False, True])
def test_the_bpe_dropout_distribution_is_exact(
    dropout: float, long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to sample: of words that are kept, and of those too long for that."""
    monkeypatch.setattr(bpe_dropout, "LONGEST_CACHED", 0 if long else 32)
    tokenizer = learn("bpe")
    processor = tokenizer._processor
    word = f"{WORD_START}sings"
    scores = {
        processor.id_to_piece(token): processor.get_score(token)
        for token in range(NUM_SPECIAL, len(processor))
        if processor.id_to_piece(token) not in tokenizer.user_symbols
    }
    wanted = {
        tuple(processor.piece_to_id(unit) for unit in units): share
        for units, share in bpe_distribution(tuple(word), dropout, scores).items()
    }
    assert len(wanted) > 4
    sampler = BpeDropout(read_piece_model(tokenizer.model), tokenizer.model_ids_in_vocabulary(), dropout)
    number, stream = 20000, draws()
    found = Counter(tuple(sampler.sample_word(word, stream)) for _ in range(number))
    assert found.keys() <= wanted.keys()
    distance = sum(abs(found[ids] / number - share) for ids, share in wanted.items()) / 2
    expected = sum(math.sqrt(2 / math.pi * share * (1 - share) / number) for share in wanted.values()) / 2
    assert distance < 2 * expected


def test_all_merges_left_out_leave_characters() -> None:
    tokenizer = learn("bpe")
    text = "walking <ENT>singers reads"
    wanted = [*f"{WORD_START}walking{WORD_START}", "<ENT>", *f"singers{WORD_START}reads"]
    for line in (text, text.replace("walking", "walking" * 9)):
        ids = sampling(tokenizer, dropout=1).encode(line, draws())
        extra = "walking" * 8 if line != text else ""
        assert tokenizer.pieces(ids) == [*wanted[:8], *extra, *wanted[8:]]


@pytest.mark.parametrize("model", KINDS)
def test_words_are_normalized_first(model: str) -> None:
    tokenizer = learn(model, Normalization(lowercase=True, strip_punctuation=True))
    certain = sampling(tokenizer, alpha=CERTAIN, dropout=0)
    assert certain.encode("Walking, <ENT>!", draws()) == tokenizer.encode("walking <ENT>")
    # What normalization makes of other text is a user symbol too, to SentencePiece.
    symbols = learn(model, Normalization(unicode_normalization="NFKC"))
    for line in ("walk\uff1cENT\uff1ewalk", "\uff1cE\uff1eNT\uff1e"):
        certain = sampling(symbols, alpha=CERTAIN, dropout=0)
        assert certain.encode(line, draws()) == symbols.encode(line)


@pytest.mark.parametrize("model", KINDS)
def test_no_piece_beyond_the_vocabulary_is_drawn_for_want_of_need(model: str) -> None:
    """A vocabulary from which rare pieces were left out: chance adds no unknown words."""
    tokenizer = learn(model, threshold=40)
    assert not all(tokenizer.model_ids_in_vocabulary()[NUM_SPECIAL:])
    noisy = sampling(tokenizer, alpha=0.0, dropout=0.5)
    for line in lines():
        assert noisy.encode(line, draws()).count(UNK) <= tokenizer.encode(line).count(UNK)


@pytest.mark.parametrize("model", KINDS)
def test_what_is_kept_of_words_decides_nothing(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def sampled() -> list[list[int]]:
        encoder = sampling(learn(model), dropout=0.3)
        return [encoder.encode(line, draws(number)) for number, line in enumerate(lines() * 2)]

    kept = sampled()
    for module in (bpe_dropout, unigram_sampling):
        monkeypatch.setattr(module, "CACHED_WORDS", 2)
    assert sampled() == kept
    assert kept[:300] != kept[300:]


def test_the_model_file_is_read_as_sentencepiece_reads_it() -> None:
    for model in KINDS:
        for tokenizer in (learn(model), learn_with_bytes(model)):
            processor, found = tokenizer._processor, read_piece_model(tokenizer.model)
            assert found.kind == model
            numbers = range(len(processor))
            assert list(found.pieces) == [processor.id_to_piece(token) for token in numbers]
            assert list(found.scores) == [processor.get_score(token) for token in numbers]
            assert found.unknown == processor.unk_id() == UNK
            assert set(found.ids(UNKNOWN).values()) == {UNK}
            assert set(found.ids(BYTE).values()) == {token for token in numbers if processor.is_byte(token)}
            assert set(found.ids(USER_DEFINED)) == set(tokenizer.user_symbols)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x0a\xff", b"\x0b", b"no model"])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"SentencePiece|protocol buffer"):
        read_piece_model(data)


@pytest.mark.parametrize("kind", ["word", "character"])
def test_only_subwords_can_be_sampled(kind: str) -> None:
    tokenizer = TOKENIZERS[kind].learn(
        lambda: ([line] for line in lines()), LearningSettings(), Normalization()
    )
    with pytest.raises(UsageError, match=rf"--subword-sampling: the source tokenizer is '{kind}'"):
        sampling(tokenizer)
    assert all(word_starts(tokenizer))


def test_where_words_start() -> None:
    tokenizer = learn("bpe")
    pieces = zip(tokenizer.vocabulary.symbols, word_starts(tokenizer), strict=True)
    assert all(starts == piece.startswith(WORD_START) for piece, starts in pieces)
