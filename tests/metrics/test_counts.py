"""The statistics of BLEU, chrF and TER are sacrebleu's own, segment by segment, whatever the text."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.lib_ter import translation_edit_rate

from s2scli.components import METRICS
from s2scli.metrics.base import MetricOptions
from s2scli.metrics.edits import edits
from s2scli.metrics.ngram_counts import of_characters, of_words

# What tokenizers look at: marks beside digits, letters and spaces of all kinds, entities, and what they take away.
PIECES = [
    *"aabB01.,.,--  &;\t'\"/()<>!?_\u3000\u2028\r\x1c中日だ😀é%#\n",
    *("&quot;", "&amp;", "<skipped>", "&lt;", "-\n", "1.5", "a-b", "3-"),
]


def corpus(draw: random.Random) -> tuple[list[str], list[list[str | None]]]:
    """Outputs, and references that have much of them; but for the first some are missing."""
    outputs = ["".join(draw.choices(PIECES, k=draw.randrange(40))) for _ in range(draw.randint(1, 30))]
    references: list[list[str | None]] = [
        ["".join(draw.choice(PIECES) if draw.random() < 0.1 else sign for sign in text) for text in outputs]
        for _ in range(draw.randint(1, 3))
    ]
    holes = [[None if draw.random() < 0.3 else text for text in kind] for kind in references[1:]]
    return outputs, [references[0], *holes]


@pytest.mark.parametrize("seed", range(20))
def test_any_text_is_counted_as_sacrebleu_does(seed: int) -> None:
    draw = random.Random(seed)
    outputs, references = corpus(draw)
    lowercase = draw.random() < 0.5
    cases: list[tuple[str, Any, MetricOptions]] = [
        (
            "bleu",
            BLEU(tokenize=name, lowercase=lowercase, force=True),
            MetricOptions(tokenize=name, lowercase=lowercase),
        )
        for name in ("13a", "none", "zh", "char", "intl")
    ]
    options = MetricOptions(lowercase=lowercase)
    cases += [("chrf", CHRF(lowercase=lowercase), options), ("ter", TER(), options)]
    cases.append(("chrf++", CHRF(word_order=2, lowercase=lowercase), options))
    for name, oracle, chosen in cases:
        wanted = np.array(oracle._extract_corpus_statistics(outputs, references))
        assert METRICS[name](chosen).statistics(outputs, references).tolist() == wanted.tolist()


def moved(draw: random.Random, words: list[str]) -> list[str]:
    """The words with runs of them elsewhere, some missing and some exchanged."""
    for _ in range(draw.randint(0, 4)):
        start = draw.randrange(len(words) + 1)
        end = min(len(words), start + draw.randint(0, 12))
        run, rest = words[start:end], words[:start] + words[end:]
        place = draw.randrange(len(rest) + 1)
        words = rest[:place] + run + rest[place:]
    return [word if draw.random() > 0.1 else "other" for word in words if draw.random() > 0.08]


@pytest.mark.parametrize("seed", range(40))
def test_edits_are_sacrebleus(seed: int) -> None:
    """Few different words make many moves, up to the most that are tried; long lines are beyond sacrebleu's beam."""
    draw = random.Random(seed)
    known, most = draw.choice([2, 5, 10, 30, 200]), draw.choice([8, 24, 40, 60])
    reference = [f"w{draw.randrange(known)}" for _ in range(draw.randint(0, most))]
    others = [f"w{draw.randrange(known)}" for _ in range(draw.randint(0, most))]
    for output in (moved(draw, reference), others):
        assert edits(output, reference) == translation_edit_rate(output, reference)[0]


@pytest.mark.parametrize("is_text", [False, True])
def test_ngrams_of_more_symbols_than_bits(is_text: bool) -> None:
    """Of so many different symbols only the shorter n-grams fit into 63 bits; the longer ones are numbered anew."""
    draw = np.random.default_rng(1)
    # Each n-gram twice at least.
    lines = [[*line, *line] for line in draw.integers(50_000, size=(300, 20)).tolist()]
    texts = [["".join(map(chr, line)) for line in lines]]
    symbols = of_characters(texts) if is_text else of_words([[[*map(str, line)] for line in lines]])
    for order, ((numbers, counts),) in enumerate(symbols.orders(6), start=1):
        ngrams = [Counter(zip(*(line[place:] for place in range(order)), strict=False)) for line in lines]
        assert np.bincount(numbers % 300).tolist() == [*map(len, ngrams)]
        assert sorted(counts.tolist()) == sorted(number for found in ngrams for number in found.values())
