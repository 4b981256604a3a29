"""Every number and signature is sacrebleu's."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from s2scli.configs.score import TOKENIZERS, ScoreConfig
from s2scli.errors import UsageError
from s2scli.metrics import METRICS
from s2scli.metrics.base import MetricOptions
from s2scli.schema import build

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
@pytest.mark.parametrize("name", METRICS)
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
    """A significance test stands on this: draw rows, not text."""
    metric = METRICS[name]()
    rows = metric.statistics(HYPOTHESES, [FIRST, SECOND])
    assert rows.shape[0] == len(HYPOTHESES)
    drawn = np.array([5, 0, 0, 3])
    sample = [[texts[index] for index in drawn] for texts in (HYPOTHESES, FIRST, SECOND)]
    assert metric.aggregate(rows[drawn]).value == METRICS[name]().score(sample[0], sample[1:]).value


@pytest.mark.parametrize("name", METRICS)
def test_refuses_what_is_not_parallel(name: str) -> None:
    for hypotheses, references in (([], [[]]), (["a"], []), (["a", "b"], [["a"]])):
        with pytest.raises(ValueError, match=r"one length|length above 0"):
            METRICS[name]().statistics(hypotheses, references)


def test_a_perfect_output_scores_best() -> None:
    best = {"bleu": 100.0, "chrf": 100.0, "chrf++": 100.0, "ter": 0.0}
    for name in METRICS:
        assert METRICS[name]().score(FIRST, [FIRST]).value == pytest.approx(best[name])


def test_config_choices_are_what_there_is() -> None:
    assert set(TOKENIZERS) == set(BLEU.TOKENIZERS)
    assert build(ScoreConfig, {"metrics": list(METRICS)}).metrics == tuple(METRICS)


def test_an_unknown_tokenizer_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 13a"):
        METRICS["bleu"](MetricOptions(tokenize="13b"))
