"""What every metric promises, and that BLEU, chrF and TER are sacrebleu's."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from s2scli.components import METRICS
from s2scli.configs.score import TOKENIZERS, ScoreConfig
from s2scli.errors import UsageError
from s2scli.metrics.base import MetricOptions
from s2scli.schema import build

SACREBLEU = ("bleu", "chrf", "chrf++", "ter")
HYPOTHESES = [
    "The cat sat on the mat, and it purred.",
    "Das Haus steht am alten See !",
    "今天天气很好，我们去公园。",
    "je n'ai pas vu le chat aujourd'hui",
    "",
    "a small (very small) step for 3.5 people",
]
FIRST = [
    "The cat sat on a mat, and purred.",
    "Das Haus steht am See!",
    "今天天气真好，我们去公园吧。",
    "Je n'ai pas vu le chat aujourd'hui.",
    "an empty output",
    "A small step for 3.5 people",
]
SECOND = [
    "On the mat the cat sat, purring.",
    "Am See steht das Haus.",
    "今天天气不错，去公园吧。",
    "Aujourd'hui, je n'ai pas vu de chat.",
    "nothing",
    "a step that is (very) small for people, all 3.5 of them",
]


@pytest.mark.parametrize("references", [[FIRST], [FIRST, SECOND], [FIRST, SECOND, HYPOTHESES]])
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("name", SACREBLEU)
def test_equals_sacrebleu(name: str, lowercase: bool, references: list[list[str]]) -> None:
    oracle = {
        "bleu": BLEU(lowercase=lowercase, force=True),
        "chrf": CHRF(lowercase=lowercase),
        "chrf++": CHRF(lowercase=lowercase, word_order=2),
        "ter": TER(),
    }[name]
    wanted = oracle.corpus_score(HYPOTHESES, references)
    got = METRICS[name](MetricOptions(lowercase=lowercase)).score(HYPOTHESES, references)
    assert (got.name, got.value) == (wanted.name, wanted.score)
    assert got.signature == oracle.get_signature().format()
    assert got.higher_is_better == (name != "ter")
    assert got.details


@pytest.mark.parametrize("tokenize", ["13a", "zh", "char", "intl", "none"])
def test_bleu_tokenizers_equal_sacrebleu(tokenize: str) -> None:
    oracle = BLEU(tokenize=tokenize, force=True)
    wanted = oracle.corpus_score(HYPOTHESES, [FIRST, SECOND])
    got = METRICS["bleu"](MetricOptions(tokenize=tokenize)).score(HYPOTHESES, [FIRST, SECOND])
    assert got.value == wanted.score
    assert f"tok:{tokenize}" in got.signature


def test_auto_is_13a() -> None:
    assert "tok:13a" in METRICS["bleu"]().score(HYPOTHESES, [FIRST]).signature


@pytest.mark.parametrize("name", METRICS)
def test_rows_of_a_sample_are_scored_like_the_sample_itself(name: str) -> None:
    """A significance test stands on this: draw rows, or weigh them, not text."""
    metric = METRICS[name]()
    texts = HYPOTHESES, FIRST, SECOND
    rows = metric.statistics(HYPOTHESES, [FIRST, SECOND], SECOND)
    assert rows.shape[0] == len(HYPOTHESES)
    drawn = [5, 0, 0, 3]
    sample = [[lines[index] for index in drawn] for lines in texts]
    weights = np.bincount(drawn, minlength=len(rows)).astype(float)[None]
    if name == "self_bleu":
        wanted = metric.aggregate(rows[drawn]).value  # its pool of other outputs stays as it is
    else:
        wanted = METRICS[name]().score(sample[0], sample[1:], sample[2]).value
    assert metric.aggregate(rows[drawn]).value == wanted
    assert metric.values(rows, weights)[0] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("name", SACREBLEU)
def test_formulas_for_many_samples_are_sacrebleus(name: str) -> None:
    """Sums of every size, zeros among them, beside sacrebleu's formula for each of them."""
    metric = METRICS[name](MetricOptions(tokenize="13a"))
    rows = metric.statistics(HYPOTHESES, [FIRST])
    weights = np.random.default_rng(1).integers(3, size=(200, len(rows))).astype(float)
    weights[:8] = np.eye(8, len(rows))
    totals = weights @ rows
    wanted = [metric._metric._compute_score_from_stats([*map(int, total)]).score for total in totals]
    assert metric.values(rows, weights) == pytest.approx(wanted, abs=1e-9)
    of_each = [metric.sentence(text, [right]) for text, right in zip(HYPOTHESES, FIRST, strict=True)]
    assert metric.segments(rows) == pytest.approx(of_each, abs=1e-9)


@pytest.mark.parametrize("name", SACREBLEU)
def test_missing_references_are_sacrebleus(name: str) -> None:
    holes = [None if number % 2 else text for number, text in enumerate(SECOND)]
    oracle = {"bleu": BLEU(force=True), "chrf": CHRF(), "chrf++": CHRF(word_order=2), "ter": TER()}[name]
    got = METRICS[name]().score(HYPOTHESES, [FIRST, holes])
    assert got.value == oracle.corpus_score(HYPOTHESES, [FIRST, holes]).score
    assert got.signature == oracle.get_signature().format()
    assert "nrefs:var" in got.signature


@pytest.mark.parametrize("name", METRICS)
def test_refuses_what_is_not_parallel(name: str) -> None:
    metric = METRICS[name]()
    for hypotheses, references in (([], [[]]), (["a", "b"], [["a"]])):
        with pytest.raises(ValueError, match="of one length above 0"):
            metric.statistics(hypotheses, references, ["a"])
    for need in metric.needs:
        with pytest.raises(ValueError, match=need):
            metric.statistics(["a"])


def test_a_perfect_output_scores_best() -> None:
    worst_is_high = {"ter", "wer", "cer", "per", "ser"}
    texts = ["[A the bridge ] was built in nineteen", "a second line of the text [B is here ] ok"]
    compared = [name for name in METRICS if METRICS[name].needs == ("references",) and name != "length_ratio"]
    assert len(compared) == 16
    for name in compared:
        best = 0.0 if name in worst_is_high else 100.0
        assert METRICS[name]().score(texts, [texts]).value == pytest.approx(best), name
        assert METRICS[name]().higher_is_better == (name not in worst_is_high)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_at_all_is_a_finite_score(name: str) -> None:
    """All outputs empty; one line; and references that are empty too."""
    for hypotheses, references in ((["", ""], FIRST[:2]), ([""], [""]), (["x"], [""])):
        score = METRICS[name]().score(hypotheses, [references], references)
        assert np.isfinite(score.value)


@pytest.mark.parametrize("name", METRICS)
def test_signatures_tell_what_it_takes(name: str) -> None:
    metric = METRICS[name](MetricOptions(lowercase=True))
    signature = metric.score(FIRST, [SECOND], SECOND).signature
    assert "version:" in signature
    assert ("nrefs:1" in signature) == ("references" in metric.needs)


def test_the_signature_tells_where_sentences_end() -> None:
    scores = [METRICS[name]().score(FIRST, [SECOND]) for name in ("rougel", "rougelsum")]
    assert ["sentences:lines-or-.!?。！？" in score.signature for score in scores] == [False, True]


def test_config_choices_are_what_there_is() -> None:
    assert set(TOKENIZERS) == set(BLEU.TOKENIZERS)
    assert build(ScoreConfig, {"metrics": list(METRICS)}).metrics == tuple(METRICS)


def test_an_unknown_tokenizer_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 13a"):
        METRICS["bleu"](MetricOptions(tokenize="13b"))
