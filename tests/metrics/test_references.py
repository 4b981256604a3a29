"""Scores beside sacrebleu, rouge-score, jiwer and the SQuAD rule, on real references and perturbed copies of them."""

from __future__ import annotations

import json
import random
import re
import string
from collections import Counter
from pathlib import Path

import jiwer
import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER

from s2scli.components import METRICS
from s2scli.metrics.base import MetricOptions
from s2scli.metrics.span_f1 import spans
from s2scli.metrics.words import characters

DATA = Path(__file__).resolve().parents[3] / "shared/data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the datasets are not here")
LINES = 500


def read(name: str, limit: int = LINES) -> list[str]:
    return (DATA / name).read_text(encoding="utf-8").split("\n")[:-1][:limit]


def perturbed(lines: list[str], seed: int, *, joint: str = " ") -> list[str]:
    """Copies with words left out, put in, exchanged and moved; every fiftieth is empty."""
    draw = random.Random(seed)
    known = [word for line in lines for word in (line.split(" ") if joint else [*line])]
    outputs = []
    for number, line in enumerate(lines):
        words = []
        for word in line.split(" ") if joint else [*line]:
            fate = draw.random()
            words += [draw.choice(known)] if fate < 0.1 else [] if fate < 0.2 else [word]
            words += [draw.choice(known)] if fate > 0.93 else []
        if draw.random() < 0.3:
            place = draw.randrange(len(words) + 1)
            words = words[place:] + words[:place]
        outputs.append("" if number % 50 == 49 else joint.join(words))
    return outputs


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++", "ter"])
@pytest.mark.parametrize(
    ("texts", "tokenize", "joint"),
    [
        ("multi30k/test_2016_flickr.de", "13a", " "),
        ("multi30k/test_2016_flickr.fr", "intl", " "),
        ("multi30k/test_2016_flickr.cs", "none", " "),
        ("tatoeba_enzh/test.zh", "zh", ""),
        ("small_parallel_enja/test.ja", "char", " "),
    ],
)
def test_sacrebleu(name: str, texts: str, tokenize: str, joint: str) -> None:
    references = read(texts)
    outputs = perturbed(references, 1, joint=joint)
    second = perturbed(references, 2, joint=joint)
    holes = [None if number % 3 else text or None for number, text in enumerate(second)]
    oracle = {
        "bleu": BLEU(tokenize=tokenize, force=True),
        "chrf": CHRF(),
        "chrf++": CHRF(word_order=2),
        "ter": TER(),
    }[name]
    metric = METRICS[name](MetricOptions(tokenize=tokenize))
    # Words of scripts without spaces are their characters, which sacrebleu is given with spaces between them.
    is_char = tokenize in ("zh", "char") and name in ("ter", "chrf++")
    for streams in ([references], [references, holes]):
        got = metric.score(outputs, streams)
        given = [
            [text and apart(text) if is_char else text for text in texts] for texts in (outputs, *streams)
        ]
        assert got.value == oracle.corpus_score(given[0], given[1:]).score
        assert 20 < got.value < 95
        assert got.signature == oracle.get_signature().format() + ("|unit:char" if is_char else "")


def apart(text: str) -> str:
    return " ".join(re.sub("([\u3005-\u3007\u3040-\u30ff\u3400-\u9fff])", r" \1 ", text).split())


def test_ter_of_chinese_is_that_of_sacrebleus_asian_support() -> None:
    """Of text that is Han characters only, where nothing else is a matter of taste."""
    references = [re.sub(r"[^\u4e00-\u9fff]", "", line) or "一" for line in read("tatoeba_enzh/test.zh", 300)]
    outputs = perturbed(references, 8, joint="")
    wanted = TER(normalized=True, asian_support=True).corpus_score(outputs, [references]).score
    assert METRICS["ter"]().score(outputs, [references]).value == wanted


def test_sacrebleus_sentences() -> None:
    references = read("multi30k/test_2016_flickr.en", 300)
    outputs = perturbed(references, 3)
    for name, oracle in (("bleu", BLEU(effective_order=True, force=True)), ("chrf", CHRF()), ("ter", TER())):
        rows = METRICS[name]().statistics(outputs, [references])
        pairs = zip(outputs, references, strict=True)
        wanted = [oracle.sentence_score(output, [reference]).score for output, reference in pairs]
        assert METRICS[name]().segments(rows) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougel", "rougelsum"])
def test_rouge_score_with_several_references(name: str, stem: bool) -> None:
    wanted = [json.loads(line)["references"] for line in read("scitldr/test.refs.jsonl")]
    outputs = perturbed([references[0] for references in wanted], 4)
    kind = {"rougel": "rougeL", "rougelsum": "rougeLsum"}.get(name, name)
    scorer = RougeScorer([kind], use_stemmer=stem)
    longest = max(map(len, wanted))
    streams = [[(item + [None] * longest)[place] for item in wanted] for place in range(longest)]
    metric = METRICS[name](MetricOptions(stem=stem))
    rows = metric.statistics(outputs, streams)

    def lines(text: str) -> str:
        return re.sub(r"([.!?])\s+", r"\1\n", text) if name == "rougelsum" else text

    pairs = zip(wanted, outputs, strict=True)
    scores = [scorer.score_multi([*map(lines, texts)], lines(output))[kind] for texts, output in pairs]
    means = 100 * np.mean([(item.fmeasure, item.precision, item.recall) for item in scores], axis=0)
    got = metric.aggregate(rows)
    assert (got.value, got.details["precision"], got.details["recall"]) == pytest.approx(means, abs=1e-9)
    assert metric.segments(rows) == pytest.approx([100 * item.fmeasure for item in scores], abs=1e-9)


def test_rouge_score_of_thousands_of_english_and_german_lines() -> None:
    for texts in ("aeslc/test.subject", "multi30k/test_2016_flickr.de", "multi30k/valid.en"):
        references = read(texts)
        outputs = perturbed(references, 5)
        scorer = RougeScorer(["rouge1", "rougeL"])
        scores = [scorer.score(right, text) for right, text in zip(references, outputs, strict=True)]
        for name, kind in (("rouge1", "rouge1"), ("rougel", "rougeL")):
            wanted = 100 * np.mean([item[kind].fmeasure for item in scores])
            assert METRICS[name]().score(outputs, [references]).value == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("texts", "joint"), [("tatoeba_enzh/test.zh", ""), ("jaquad/test.tgt", "")])
def test_rouge_score_over_characters(texts: str, joint: str) -> None:
    """By hand: ROUGE-1 is the overlap of two bags of characters, which rouge-score's own tokens would leave out."""
    references = [re.sub(r"[\W_a-zA-Z0-9]", "", line) for line in read(texts, 500)]
    references = [line for line in references if line]
    outputs = perturbed(references, 6, joint=joint)
    wanted = []
    for output, reference in zip(outputs, references, strict=True):
        shared = (Counter(output) & Counter(reference)).total()
        wanted.append(200 * shared / max(len(output) + len(reference), 1))
    score = METRICS["rouge1"]().score(outputs, [references])
    assert "tok:char" in score.signature
    # Hangul and such are words here and characters there.
    assert score.value == pytest.approx(np.mean(wanted), abs=0.5)
    assert score.value > 50


@pytest.mark.parametrize(
    "texts",
    ["multi30k/test_2016_flickr.de", "tatoeba_enzh/test.zh", "cmudict/test.phonemes", "sgd/test.response"],
)
def test_jiwer(texts: str) -> None:
    references = read(texts, 2000)
    outputs = perturbed(references, 7, joint="" if texts.endswith("zh") else " ")
    is_char = texts.endswith("zh")
    words = jiwer.process_words(
        *([*map(apart, lines)] if is_char else lines for lines in (references, outputs))
    )
    letters = jiwer.process_characters(references, outputs)
    scores = {name: METRICS[name]().score(outputs, [references]) for name in ("wer", "cer", "per", "ser")}
    assert scores["wer"].value == pytest.approx(100 * words.wer, abs=1e-9)
    assert scores["per"].value == pytest.approx(100 * jiwer.process_words(references, outputs).wer, abs=1e-9)
    assert scores["cer"].value == pytest.approx(100 * letters.cer, abs=1e-9)
    for output, score in ((words, scores["wer"]), (letters, scores["cer"])):
        for kind in ("substitutions", "deletions", "insertions"):
            assert score.details[kind] == getattr(output, kind)
    wrong = [left.split() != right.split() for left, right in zip(outputs, references, strict=True)]
    assert scores["ser"].value == pytest.approx(100 * np.mean(wrong))


def test_the_nearest_pronunciation_counts() -> None:
    known = [json.loads(line)["pronunciations"] for line in read("cmudict/test.refs.jsonl", 2000)]
    several = [item for item in known if len(item) > 1]
    assert len(several) > 50
    outputs = perturbed([item[-1] for item in several], 8)
    errors = words = wrong = 0
    for output, references in zip(outputs, several, strict=True):
        found = [jiwer.process_words(reference, output) for reference in references]
        numbers = [item.substitutions + item.deletions + item.insertions for item in found]
        errors += min(numbers)
        words += max(
            len(item.references[0]) for item, n in zip(found, numbers, strict=True) if n == min(numbers)
        )
        wrong += output not in references
    longest = max(map(len, several))
    streams = [[(item + [None] * longest)[place] for item in several] for place in range(longest)]
    assert METRICS["per"]().score(outputs, streams).value == pytest.approx(100 * errors / words)
    assert METRICS["ser"]().score(outputs, streams).value == pytest.approx(100 * wrong / len(several))
    assert METRICS["accuracy"]().score(outputs, streams).value == pytest.approx(
        100 - 100 * wrong / len(several)
    )


def squad_words(text: str) -> list[str]:
    """Lower case, no punctuation, no articles: the rule in words of its own."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return [word for word in re.sub(r"\b(?:an?|the)\b", " ", kept).split() if word]


def test_the_squad_rule() -> None:
    answers = [json.loads(line)["answers"] for line in read("squad_v1_dev/test.answers.jsonl", 2000)]
    outputs = perturbed([f"the {item[0].upper()}, " if len(item) % 2 else item[0] for item in answers], 9)
    exact, f1 = [], []
    for output, rights in zip(outputs, answers, strict=True):
        words = squad_words(output)
        exact.append(any(words == squad_words(right) for right in rights))
        best = 0.0
        for right in map(squad_words, rights):
            left = list(right)
            same = 0
            for word in words:
                if word in left:
                    left.remove(word)
                    same += 1
            if same:
                precision, recall = same / len(words), same / len(right)
                best = max(best, 2 * precision * recall / (precision + recall))
        f1.append(best)
    longest = max(map(len, answers))
    streams = [[(item + [None] * longest)[place] for item in answers] for place in range(longest)]
    assert len(outputs) > 1000
    assert 5 < 100 * np.mean(exact) < 95
    assert METRICS["exact_match"]().score(outputs, streams).value == pytest.approx(100 * np.mean(exact))
    assert METRICS["f1"]().score(outputs, streams).value == pytest.approx(100 * np.mean(f1))


def test_japanese_answers_share_characters() -> None:
    references = read("jaquad/test.tgt")
    outputs = perturbed(references, 10, joint="")
    score = METRICS["f1"]().score(outputs, [references])
    assert "tok:char" in score.signature
    assert 50 < score.value < 95
    assert characters("東京タワーは333m") == ["東", "京", "タ", "ワ", "ー", "は", "333m"]


def tagged(tags: list[str]) -> set[tuple[str, int, int]]:
    """The spans of BIO tags."""
    found, label, start = set(), "", 0
    for place, tag in enumerate([*tags, "O"]):
        if label and tag != f"I-{label}":
            found.add((label, start, place))
            label = ""
        if tag.startswith("B-"):
            label, start = tag[2:], place
    return found


def test_spans_are_those_of_the_tags() -> None:
    """The same roles as BIO tags beside the bracketed sentences."""
    tags = [line.split(" ") for line in read("propbank_ewt/valid.tags", 2000)]
    for text, wanted in zip(read("propbank_ewt/valid.tgt", 2000), tags, strict=True):
        assert spans(text) == Counter(tagged(wanted))


def bracketed(words: list[str], tags: list[str]) -> str:
    """Words with their spans as brackets."""
    ends = {end for _, _, end in tagged(tags)}
    starts = {start: label for label, start, _ in tagged(tags)}
    written = []
    for place, word in enumerate(words):
        written += [f"[{starts[place]}"] if place in starts else []
        written += [word, *(["]"] if place + 1 in ends else [])]
    return " ".join(written)


def test_span_f1_is_that_of_the_tags() -> None:
    """Tags with errors, scored as CoNLL does, by place and label, and as brackets."""
    draw = random.Random(11)
    references, outputs, right, found, wanted = [], [], 0, 0, 0
    pairs = zip(read("propbank_ewt/test.tgt"), read("propbank_ewt/test.tags"), strict=True)
    for text, line in pairs:
        words = [word for word in text.split(" ") if word != "]" and not re.match(r"\[.", word)]
        tags = line.split(" ")
        spoiled = list(tags)
        for place in range(len(tags)):
            if draw.random() < 0.1:
                spoiled[place] = draw.choice(
                    ["O", "B-ARG0", "B-ARG1", spoiled[place - 1].replace("B-", "I-")]
                )
        # What begins with I is a span too, as in conlleval.
        for place, tag in enumerate(spoiled):
            if tag.startswith("I-") and (not place or spoiled[place - 1][1:] != tag[1:]):
                spoiled[place] = f"B-{tag[2:]}"
        references.append(text)
        outputs.append(bracketed(words, spoiled))
        one, other = ({span for span in tagged(item) if span[0] != "V"} for item in (spoiled, tags))
        right, found, wanted = right + len(one & other), found + len(one), wanted + len(other)
    score = METRICS["span_f1"](MetricOptions(ignore_labels=("V",))).score(outputs, [references])
    assert score.value == pytest.approx(200 * right / (found + wanted))
    assert 30 < score.value < 95
