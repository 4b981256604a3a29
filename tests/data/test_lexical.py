"""The lexical table against EM written out, and against a corpus worked by hand."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fairseq_symbols import NUM_SPECIAL, UNK
from toys import write_lines

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data import lexical
from s2scli.data.dataset import Dataset
from s2scli.data.lexical import (
    DEFAULT_LIMITS,
    LexiconLimits,
    best_translations,
    learn_lexicon,
    learn_shortlist,
)
from s2scli.preprocess import preprocess
from s2scli.schema import build

Pairs = list[tuple[str, str]]
NULL = "NULL"
BOOKS: Pairs = [("das Haus", "the house"), ("das Buch", "the book"), ("ein Buch", "a book")]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Dataset]:
    def call(pairs: Pairs, **settings: object) -> Dataset:
        for at, side in enumerate(("aa", "bb")):
            write_lines(tmp_path / f"train.{side}", [pair[at] for pair in pairs])
        values = {"source_lang": "aa", "target_lang": "bb", "trainpref": str(tmp_path / "train")}
        values |= {"tokenizer": "word", "destdir": tmp_path / "data"}
        return Dataset.open(preprocess(build(PreprocessConfig, values | settings)).destdir)

    return call


def sizes_of(dataset: Dataset) -> dict[str, int]:
    return {side: len(dataset.tokenizer(side)) for side in ("source", "target")}


def learnt(
    dataset: Dataset, iterations: int, limits: LexiconLimits = DEFAULT_LIMITS
) -> dict[tuple[str, str], float]:
    """t(target | source) by words."""
    source, target = (dataset.tokenizer(side).vocabulary.symbols for side in ("source", "target"))
    lexicon = learn_lexicon(dataset.split("train"), sizes_of(dataset), iterations, limits)
    return {
        ((*source, NULL)[e], target[f]): float(t)
        for e, f, t in zip(*map(np.ndarray.tolist, lexicon), strict=True)
    }


def expectation_maximization(pairs: Pairs, iterations: int) -> dict[tuple[str, str], float]:
    """Figure 4.3 of Koehn, Statistical Machine Translation (2010), with the NULL word."""
    split = [([NULL, *source.split()], target.split()) for source, target in pairs]
    t = {(e, f): 1.0 for source, target in split for e in source for f in target}
    for _ in range(iterations):
        count: dict[tuple[str, str], float] = defaultdict(float)
        total: dict[str, float] = defaultdict(float)
        for source, target in split:
            for f in target:
                normalizer = sum(t[e, f] for e in source)
                for e in source:
                    count[e, f] += t[e, f] / normalizer
                    total[e] += t[e, f] / normalizer
        t = {(e, f): count[e, f] / total[e] for e, f in t}
    return t


def random_pairs(number: int, seed: int = 0) -> Pairs:
    draw = random.Random(seed)
    return [
        tuple(" ".join(draw.choices(words, k=draw.randint(1, 7))) for words in ("abcdefgh", "tuvwxyz"))  # type: ignore[misc]
        for _ in range(number)
    ]


def test_three_phrases_by_hand(make: Callable[..., Dataset]) -> None:
    """The corpus of Koehn (2010), section 4.2, with the NULL word.

    First each of the three words of a source has a third of each target word, and so t(the | das) = 2/4,
    t(house | das) = t(book | das) = 1/4, t(the | Haus) = t(house | Haus) = 1/2, t(the | NULL) = 2/6 and
    t(house | NULL) = 1/6. With these, of "the" in the first pair, 1/3 : 1/2 : 1/2, Haus has 3/8 and das as much, of
    "house", 1/6 : 1/4 : 1/2, Haus has 6/11 and das 3/11; in the second pair, of "the", 1/3 : 1/2 : 1/4, das has 6/13,
    and of "book", 1/3 : 1/4 : 1/2, 3/13.
    """
    dataset = make(BOOKS)
    first = learnt(dataset, 1)
    assert first["das", "the"] == pytest.approx(1 / 2, abs=1e-12)
    assert first["das", "book"] == pytest.approx(1 / 4, abs=1e-12)
    assert first["Haus", "house"] == pytest.approx(1 / 2, abs=1e-12)
    assert first[NULL, "the"] == pytest.approx(1 / 3, abs=1e-12)
    assert first[NULL, "house"] == pytest.approx(1 / 6, abs=1e-12)
    assert ("das", "a") not in first
    second = learnt(dataset, 2)
    haus = Fraction(6, 11), Fraction(3, 8)
    the, others = Fraction(3, 8) + Fraction(6, 13), Fraction(3, 11) + Fraction(3, 13)
    assert second["Haus", "house"] == pytest.approx(float(haus[0] / sum(haus)), abs=1e-12)
    assert second["das", "the"] == pytest.approx(float(the / (the + others)), abs=1e-12)
    last = learnt(dataset, 60)
    assert (
        min(last[pair] for pair in [("das", "the"), ("Haus", "house"), ("Buch", "book"), ("ein", "a")]) > 0.98
    )


@pytest.mark.parametrize("chunk", [1, 40, 1 << 20])
@pytest.mark.parametrize("shard_size", [0, 7])
def test_it_is_em(make: Callable[..., Dataset], chunk: int, shard_size: int) -> None:
    pairs = [*random_pairs(30), ("a " * 20, "t u"), ("b", "v " * 30)]
    found = learnt(make(pairs, shard_size=shard_size), 5, LexiconLimits(chunk=chunk))
    expected = expectation_maximization(pairs, 5)
    assert found.keys() == expected.keys()
    for pair, probability in expected.items():
        assert found[pair] == pytest.approx(probability, abs=1e-9)


def test_the_table_is_in_the_order_of_probabilities(make: Callable[..., Dataset]) -> None:
    pairs = random_pairs(40, seed=1)
    # "z" is <unk>, which is no translation, but is counted among the frequent tokens.
    dataset = make(pairs, nwordstgt=NUM_SPECIAL + 6)
    sizes = sizes_of(dataset)
    table = learn_shortlist(dataset.split("train"), sizes, 4)
    source, target = (dataset.tokenizer(side).vocabulary for side in ("source", "target"))
    unknown = next(word for word in "tuvwxyz" if word not in target)
    expected = expectation_maximization(
        [(e, f.replace(unknown, "<unk>")) for e, f in pairs], lexical.ITERATIONS
    )
    assert table.targets.shape == (len(source), 4)
    assert (table.targets[:NUM_SPECIAL] == -1).all()
    for word in "abcdefgh":
        best = sorted(
            (f for e, f in expected if e == word and f != "<unk>"), key=lambda f: -expected[word, f]
        )
        assert [target.symbols[token] for token in table.targets[source.lookup(word)]] == best[:4]
    counts = Counter(word for _, f in pairs for word in f.split())
    numbers = [counts[target.symbols[token]] for token in table.frequent[:-NUM_SPECIAL]]
    assert numbers == sorted(numbers, reverse=True)
    assert sorted(table.frequent) == list(range(len(target)))
    assert set(table.frequent[-NUM_SPECIAL:]) == set(range(NUM_SPECIAL))
    assert UNK not in table.targets


def test_fewer_translations_than_asked_for() -> None:
    lexicon = lexical.Lexicon(
        np.array([4, 4, 4, 6, 7]), np.array([2, 5, 6, 4, 4]), np.array([0.5, 0.2, 0.3, 1, 1])
    )
    assert best_translations(lexicon, 7, 3, NUM_SPECIAL).tolist() == [
        *[[-1, -1, -1]] * 4,
        [6, 5, -1],
        [-1, -1, -1],
        [4, -1, -1],
    ]


def test_the_selection_is_bounded_and_even(make: Callable[..., Dataset]) -> None:
    # Every fourth pair is longer, so that each fourth one alone would be no selection of them all.
    pairs = [("a b c d", "t u v w") if number % 4 == 0 else ("a", "t") for number in range(2000)]
    split = make([*pairs, ("a " * 60, "t " * 60)]).split("train")
    sizes = 20, 2
    whole = 500 * sizes[0] + 1500 * sizes[1]
    for limit in (whole, whole - 1, 3000, 500):
        limits = LexiconLimits(cooccurrences=limit, of_a_pair=61 * 60 - 1)
        rows = np.concatenate(list(lexical.selection(split, limits)))
        assert rows.max() < 2000
        assert (np.diff(rows) > 0).all()
        used = np.where(rows % 4 == 0, *sizes).sum()
        assert 0.9 * limit <= used <= limit
        assert np.mean(rows % 4 == 0) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_of_very_many_pairs_some_are_read(make: Callable[..., Dataset], chunk: int) -> None:
    split = make([("a", "t")] * 1000).split("train")
    rows = np.concatenate(list(lexical.selection(split, LexiconLimits(chunk=chunk, pairs=100))))
    assert 95 <= len(rows) <= 105
    assert 3 <= np.diff(rows).min() <= np.diff(rows).max() <= 20


def test_memory_does_not_grow_with_the_corpus(make: Callable[..., Dataset]) -> None:
    dataset = make(random_pairs(500))
    parts = lexical._parts(dataset.split("train"), sizes_of(dataset), LexiconLimits(cooccurrences=400))
    _, chunks = lexical.count_together(parts, sizes_of(dataset))
    assert 300 < sum(len(chunk.indices) for chunk in chunks) <= 400


def test_sentences_in_memory_give_the_lexicon_of_the_same_in_a_dataset(make: Callable[..., Dataset]) -> None:
    dataset = make(random_pairs(60))
    split, sizes = dataset.split("train"), sizes_of(dataset)
    sources, targets = (
        [np.asarray(split.ids(side, row), np.int64) for row in range(len(split))]
        for side in ("source", "target")
    )
    limits = LexiconLimits(chunk=50)
    for one, other in zip(
        lexical.lexicon_of(sources, targets, sizes, limits=limits),
        learn_lexicon(split, sizes, limits=limits),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
