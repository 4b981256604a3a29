"""Whether a model's probabilities are those of being right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from s2scli.metrics.base import Floats
from s2scli.metrics.bleu import Bleu
from s2scli.metrics.edits import in_reference
from s2scli.plotting.history import is_number
from s2scli.scoring.analyses.base import Analysis, Bars, word_options
from s2scli.scoring.results import ScoreResult
from s2scli.scoring.tables import Table
from s2scli.text.pieces import GOES_ON, SPACE_BEFORE

_BINS = 10


def calibration(result: ScoreResult) -> Iterator[Analysis]:
    """Reliability of words' probabilities in classes of equal width, and the expected calibration error.

    ECE = Σ_b |b| / N · |share of right words of b - mean probability of b| (Naeini et al. 2015; Guo et al. 2017,
    equation 3). As Wang et al. 2020 do for translation, words of the model's own output are right where an alignment of
    fewest edits with the reference has the same word. A word's probability is the product of its pieces'.
    """
    found: dict[str, tuple[Floats, Floats]] = {}
    for place, name in enumerate(result.systems):
        if result.corpus.records[place] and result.corpus.references:
            probabilities, right = _words(result, place)
            found |= {name: (probabilities, right)} if len(right) else {}
    if not found:
        return
    tables, charts = [], []
    for name, (probabilities, right) in found.items():
        classes = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
        counts, hits = np.bincount(classes, minlength=_BINS), np.bincount(classes, right, _BINS)
        sums = np.bincount(classes, probabilities, _BINS)
        labels = [f"{place / _BINS:.1f}-{(place + 1) / _BINS:.1f}" for place in range(_BINS)]
        rows = [
            [label, f"{count}", *(f"{100 * part / count:.1f}" for part in (total, hit))]
            for label, count, total, hit in zip(labels, counts, sums, hits, strict=True)
            if count
        ]
        error = expected_calibration_error(probabilities, right)
        notes = [f"{name}: {len(right):,} words, expected calibration error {100 * error:.2f} %"]
        header = [f"{name}: probability", "words", "mean probability", "right"]
        tables.append(Table(title="", header=header, rows=rows, numbers=frozenset({1, 2, 3}), notes=notes))
        whole = np.maximum(counts, 1)
        charts.append(
            Bars(caption=name, labels=labels, series=[(sums / whole).tolist(), (hits / whole).tolist()])
        )
    yield Analysis(
        title="Calibration",
        text="Words of the outputs by the probability that the model gave them: its mean, and the share (%) that is "
        "right, which means that it stands in the reference at the place where fewest edits align the two. Of a model "
        "that knows how sure it may be both are the same.",
        tables=tables,
        charts=charts,
        keys=("mean probability", "right"),
    )


def expected_calibration_error(probabilities: Floats, right: Floats, bins: int = _BINS) -> float:
    """Σ_b |b| / N · |accuracy of b - confidence of b| over classes of equal width; both arrays [N]."""
    classes = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.bincount(classes, right - probabilities, bins)
    return float(np.abs(gaps).sum() / len(right))


def _words(result: ScoreResult, system: int) -> tuple[Floats, Floats]:
    """Of each word of a system's records its probability, and whether it is right (1) or not (0)."""
    corpus = result.corpus
    splitter = Bleu(word_options(result))
    splitter.fit([corpus.reference(line) for line in range(len(corpus))])
    probabilities: list[float] = []
    right: list[bool] = []
    for line, record in enumerate(corpus.records[system]):
        words = splitter.words(corpus.systems[system][line])
        scores = word_scores(words, record)
        if scores is not None:
            probabilities += map(math.exp, scores)
            right += in_reference(words, splitter.words(corpus.reference(line)))
    return np.minimum(np.array(probabilities), 1.0), np.array(right, np.float64)


def word_scores(words: Sequence[str], record: Mapping[str, Any]) -> list[float] | None:
    """The log probability of each word: the sum over the tokens that it is made of, one of two words counted in both.

    None where the record has no tokens that all have scores, or they do not spell the words.
    """
    tokens, scores = record.get("tokens"), record.get("token_scores")
    if not isinstance(tokens, list) or not isinstance(scores, list) or len(tokens) != len(scores):
        return None
    # What is not finite is written as null.
    if not all(isinstance(token, str) for token in tokens) or not all(map(is_number, scores)):
        return None
    # The last token is the end.
    pieces = [_spelled(token) for token in tokens[:-1]]
    spelled, text = "".join(pieces), "".join(words)
    if len(spelled) != len(text) or spelled.lower() != text.lower():
        return None
    owners = [place for place, word in enumerate(words) for _ in word]
    found, start = [0.0] * len(words), 0
    for piece, score in zip(pieces, scores, strict=False):
        for place in {*owners[start : start + len(piece)]}:
            found[place] += score
        start += len(piece)
    return found


def _spelled(token: str) -> str:
    """A token's own characters, without SentencePiece's sign for a space and subword-nmt's for what goes on."""
    return token.replace(SPACE_BEFORE, "").removesuffix(GOES_ON).removesuffix("</w>").replace(" ", "")
