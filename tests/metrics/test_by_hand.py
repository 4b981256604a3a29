"""Metrics of dialogue, spans and models, worked out by hand or by brute force."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from sacrebleu.metrics import BLEU

from s2scli.components import METRICS, MODEL_METRICS
from s2scli.errors import UsageError
from s2scli.metrics.base import MetricOptions
from s2scli.metrics.span_f1 import spans
from s2scli.metrics.squad import normalize
from s2scli.metrics.words import looks_unspaced

OUTPUTS = ["i do not know", "i do not know", "yes i know it"]


def score(name: str, outputs: Sequence[str], *others: Sequence[str], **options: object) -> float:
    metric = METRICS[name](MetricOptions(**options))  # type: ignore[arg-type]
    return metric.score(outputs, others[:1], *others[1:]).value


def test_distinct() -> None:
    assert score("distinct1", OUTPUTS) == pytest.approx(100 * 6 / 12)
    # i do, do not, not know, yes i, i know, know it, of 9.
    assert score("distinct2", OUTPUTS) == pytest.approx(100 * 6 / 9)
    assert score("distinct1", ["A a", "a"]) == pytest.approx(100 * 2 / 3)
    assert score("distinct1", ["A a", "a"], lowercase=True) == pytest.approx(100 / 3)
    assert score("distinct1", ["今天今天"]) == pytest.approx(50)
    assert score("distinct2", ["one", ""]) == 0


def test_distinct_of_one_output_is_its_own() -> None:
    rows = METRICS["distinct1"]().statistics(OUTPUTS)
    assert METRICS["distinct1"]().segments(rows) == pytest.approx([100, 100, 100])
    assert METRICS["distinct1"]().segments(METRICS["distinct1"]().statistics(["a a b"])) == pytest.approx(
        [200 / 3]
    )


def test_entropy() -> None:
    p = [2 / 3, 1 / 3]
    assert score("entropy", OUTPUTS) == pytest.approx(-sum(item * math.log(item) for item in p))
    assert score("entropy", ["too short"]) == 0


@pytest.mark.parametrize("outputs", [OUTPUTS, [*OUTPUTS, "i do", "not know it now do i", ""], ["a b", "c d"]])
def test_self_bleu_is_sentence_bleu_against_all_others(outputs: list[str]) -> None:
    oracle = BLEU(tokenize="none", effective_order=True, force=True)
    each = [
        oracle.sentence_score(
            output, [other for number, other in enumerate(outputs) if number != place]
        ).score
        for place, output in enumerate(outputs)
    ]
    assert score("self_bleu", outputs) == pytest.approx(sum(each) / len(each))


def test_a_lone_output_is_like_no_other() -> None:
    assert score("self_bleu", ["one two three four five"]) == 0


def test_lengths() -> None:
    assert score("length", ["a b c", "", "d"]) == pytest.approx(4 / 3)
    assert score("length_ratio", ["a b c", "d"], ["a b", "c d e"]) == pytest.approx(4 / 5)
    nearest = METRICS["length_ratio"]().score(["a b c"], [["a b c d e"], ["a b"], [None]])
    assert nearest.value == pytest.approx(3 / 2)


def test_words_are_what_stands_between_any_white_space() -> None:
    for output in ("a b c !", "a\tb\u00a0c\u3000!"):
        assert score("wer", ["a b c !"], [output]) == score("ser", ["a b c !"], [output]) == 0
        assert score("wer", [output], ["a b x !"]) == 25


def test_what_a_word_is_the_references_tell() -> None:
    """So that a system which says other things is measured alike."""
    for outputs in (["今天天气", "今天"], ["<unk> <unk>", "a b c"]):
        for name in ("length", "repetition", "distinct1", "self_bleu"):
            metric = METRICS[name]()
            metric.score(outputs, [["今天天气很好", "今天天气很好"]])
            assert metric.terms()["tok"] == "char"


def test_repetition() -> None:
    # a b a b a b a b: 5 4-grams, 2 different; the second has one 4-gram, the third none, and does not count.
    assert score("repetition", ["a b a b a b a b", "a b c d", "a b"]) == pytest.approx(100 * (3 / 5 + 0) / 2)


def test_copies() -> None:
    outputs, sources = ["the the cat", "dog"], ["the cat sat", "dog dog"]
    assert score("copy_rate", outputs, ["", ""], sources) == pytest.approx(100 * 3 / 4)


def test_spans() -> None:
    text = "[ARG0 He ] [V eats ] [ARG1 an apple [R that ] ] . ] [X never closed"
    assert spans(text) == {("ARG0", 0, 1): 1, ("V", 1, 2): 1, ("ARG1", 2, 5): 1, ("R", 4, 5): 1}
    assert spans("a [ b ] and []") == {}
    assert spans("[A [B x ] ] [A ]") == {("A", 0, 1): 1, ("B", 0, 1): 1, ("A", 1, 1): 1}


def test_span_f1() -> None:
    # Right: A on 0 to 2 and A on 0 to 1; V is on 2 to 3, but should be to 4, and one A too many is on 1 to 2.
    outputs = ["[A a b ] [V c ] d", "[A x ] [A x ]"]
    references = ["[A a b ] [V c d ]", "[A x ]"]
    got = METRICS["span_f1"]().score(outputs, [references])
    assert got.value == pytest.approx(200 * 2 / (4 + 3))
    assert (got.details["precision"], got.details["recall"]) == pytest.approx((50, 200 / 3))
    assert "spans:label+place" in got.signature
    assert score("span_f1", outputs, references, ignore_labels=("V",)) == pytest.approx(200 * 2 / (3 + 2))
    # No span is right where there is none, whichever reference is first.
    for references_of_one in (["[A x ]", "x"], ["x", "[A x ]"]):
        both = [[reference] for reference in references_of_one]
        assert METRICS["span_f1"]().score(["x"], both).value == 100
    # The same words with the same label elsewhere are another span.
    assert score("span_f1", ["the dog and [A the dog ]"], ["[A the dog ] and the dog"]) == 0
    assert score("span_f1", ["[a b ]"], ["[A B ]"]) == 0
    assert score("span_f1", ["[a b ]"], ["[A B ]"], lowercase=True) == 100


def test_accuracy_and_exact_match() -> None:
    assert score("accuracy", ["yes", "No", " yes "], ["yes", "no", "yes"]) == pytest.approx(200 / 3)
    assert score("accuracy", ["yes", "No"], ["yes", "no"], lowercase=True) == 100
    assert normalize("The  Cat's “a” an-apple.") == "cats “ ” anapple"
    assert score("exact_match", ["the U.S.", "x"], ["US", "y"]) == 50
    assert score("f1", ["the red house", ""], ["a red big house", "the"]) == pytest.approx((80 + 100) / 2)


def test_the_alignment_of_a_line_with_its_nearest_reference() -> None:
    drawn = METRICS["wer"]().drawn("the cat sat", ["a dog ran off", "the cat sat down"])
    assert [line.split() for line in drawn.splitlines()] == [
        ["REF:", "the", "cat", "sat", "down"],
        ["HYP:", "the", "cat", "sat", "****"],
        ["D"],
    ]


def test_the_nearest_reference_has_the_fewest_errors() -> None:
    """One error of one phoneme is nearer than two of four, though the rate is higher; of equals the longer counts."""
    metric = METRICS["per"]()
    assert metric.score(["B C"], [["B C D E"], ["A"]]).value == pytest.approx(100 * 2 / 4)
    assert metric.score(["A B C D"], [["X B C Y Z"], ["A B C"], ["A B C D E"]]).value == pytest.approx(
        100 / 5
    )
    drawn = metric.drawn("A B C D", ["X B C Y Z", "A B C", "A B C D E"])
    assert drawn.splitlines()[0].split() == ["REF:", "A", "B", "C", "D", "E"]


def test_a_word_is_wrong_where_no_pronunciation_matches() -> None:
    outputs, listed = ["T AH0", "K AE1 T", "D"], [["T AH0", "K AA1 T", "D AO1"], ["T UW1", "K  AE1 T", None]]
    assert METRICS["ser"]().score(outputs, listed).value == pytest.approx(100 / 3)
    assert METRICS["per"]().score(outputs, listed).value == pytest.approx(100 / 7)


def test_what_looks_unspaced() -> None:
    assert looks_unspaced(["今天天气很好。"])
    assert looks_unspaced([None, "これはペンです"])
    assert not looks_unspaced(["plain words", "mit 中 one"])
    assert not looks_unspaced(["", None])


def test_perplexity_and_bits_per_character() -> None:
    scores = {"ab": [-1.0, -2.0, -0.5], "c": [-0.1, -0.2], "": []}

    def forced(texts: Sequence[str], sources: Sequence[str]) -> list[tuple[float, int]]:
        assert list(sources) == ["x", "y", "z"]
        return [(sum(scores[text]), len(scores[text])) for text in texts]

    found = {
        name: MODEL_METRICS[name](forced=forced, model="run").score([*scores], sources=["x", "y", "z"])
        for name in MODEL_METRICS
    }
    assert found["ppl"].value == pytest.approx(math.exp(3.8 / 5))
    # 2 + 1 characters and two line ends; of an empty line nothing is known.
    assert found["bpc"].value == pytest.approx(3.8 / math.log(2) / 5)
    assert "model:run" in found["ppl"].signature


@pytest.mark.parametrize(("name", "package"), [("rouge1", "rouge_score"), ("wer", "jiwer")])
def test_without_the_extra_one_line_says_so(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(UsageError, match=r"needs the extra metrics: pip install 's2scli\[metrics\]'"):
        METRICS[name]()
