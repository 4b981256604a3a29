"""What a report tells beyond scores, held against corpora whose errors are known."""

from __future__ import annotations

import json
import random
from collections import Counter
from html.parser import HTMLParser
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from systems import BASE, NEW, RIGHT

from s2scli.configs.score import ScoreConfig
from s2scli.errors import DataError
from s2scli.metrics.bleu import Bleu
from s2scli.metrics.edits import in_reference
from s2scli.score import score
from s2scli.scoring.analyses.base import ScoredWords
from s2scli.scoring.analyses.calibration import expected_calibration_error, word_scores
from s2scli.scoring.analyses.frequency import by_frequency
from s2scli.scoring.analyses.repeated import repeated
from s2scli.scoring.analyses.translated import Aligner, translated


def glossary(lines: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Sources of different words, and their translations word by word, in reversed order."""
    draw = random.Random(seed)
    sources = [draw.sample([f"s{number}" for number in range(40)], 6) for _ in range(lines)]
    return sources, [[word.replace("s", "t") for word in reversed(line)] for line in sources]


def scored(outputs: list[list[str]], sources: list[list[str]], references: list[list[str]]) -> ScoredWords:
    training = [*zip(*glossary(800, seed=2), strict=True)]
    return ScoredWords(
        names=["own"], outputs=[outputs], references=references, sources=sources, training=training
    )


def test_words_are_linked_with_what_they_translate() -> None:
    sources, targets = glossary(800, seed=1)
    aligner = Aligner([*zip(sources, targets, strict=True)])
    for source, target in zip(*glossary(20, seed=3), strict=True):
        assert aligner.links(source, [*target, "unheard"]) == [5, 4, 3, 2, 1, 0, None]
    assert aligner.links(["s1", "Anna", "s2"], ["t2", "anna"]) == [2, 1]


def test_made_up_copied_missing_and_doubled_words_are_counted() -> None:
    sources, references = glossary(200, seed=4)
    outputs = [[*line] for line in references]
    for place, line in enumerate(outputs):
        if place % 4 == 0:
            line[2] = f"invented{place}"  # of no source word, and what stood there is not translated
        elif place % 4 == 1:
            line[0] = sources[place][5]  # copied
        elif place % 4 == 2:
            line.append(line[1])  # said twice
    origins, coverage = translated(scored(outputs, sources, references))
    first, own = origins.tables[0].rows
    assert first == ["reference", "1,200", "", "0.0", "100.0", "0.0"]
    number = 1200 + 50
    assert own[:2] == ["own", "1,250"]
    assert [float(cell) for cell in own[2:]] == pytest.approx(
        [100 * part / number for part in (1100, 50, 50, 50)], abs=0.06
    )
    assert "invented" in origins.tables[0].notes[1]
    ((name, words, under, over),) = coverage.tables[0].rows
    assert (name, words) == ("own", "1,200")
    assert float(under) == pytest.approx(100 * 50 / 1200, abs=0.06)
    assert float(over) == pytest.approx(100 * 50 / 1200, abs=0.06)


def test_recall_and_precision_are_by_the_frequency_of_words() -> None:
    references = [["a", "a", "b"], ["a", "c"], ["a", "d", "d"]]
    outputs = [["a", "b", "b", "x"], ["a", "a"], ["d", "d", "d"]]
    words = ScoredWords(names=["own"], outputs=[outputs], references=references, sources=[])
    (found,) = by_frequency(words)
    # a comes 4 times, d twice, b and c once, x never.
    assert [*found.tables[0].rows] == [
        ["0", "0", "-", "0.0"],
        ["1", "2", "50.0", "50.0"],
        ["2-4", "6", "66.7", "66.7"],
    ]
    assert found.charts[0].series == [pytest.approx([0, 0.5, 2 / 3])]  # type: ignore[union-attr]


def test_what_is_said_again_is_counted_by_runs_of_words() -> None:
    words = ScoredWords(
        names=["own"], outputs=[[["no"] * 5, ["a", "b", "a", "b"]]], references=[], sources=[]
    )
    (found,) = repeated(words)
    # Again: 4 + 2 of 9 words, 3 + 1 of 7 pairs, 2 + 0 of 5, 1 + 0 of 3.
    assert found.tables[0].rows == [["own", "66.7", "57.1", "40.0", "33.3"]]
    assert found.tables[0].notes == ["own, three words again: no no no 2"]


def test_words_in_the_reference_are_those_of_an_alignment_with_fewest_edits() -> None:
    draw = random.Random(5)
    for _ in range(300):
        output, reference = ([draw.choice("abc") for _ in range(draw.randrange(1, 8))] for _ in range(2))
        right = in_reference(output, reference)
        left = iter(reference)
        kept = [word for word, is_right in zip(output, right, strict=True) if is_right]
        assert all(word in left for word in kept)  # in the same order
        # Of d edits each makes at most one word of the output wrong, and one of the reference.
        assert len(kept) >= max(len(output), len(reference)) - levenshtein(output, reference)


def levenshtein(one: list[str], other: list[str]) -> int:
    row = [*range(len(other) + 1)]
    for place, word in enumerate(one, start=1):
        above, row = row, [place]
        for column, against in enumerate(other, start=1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (word != against)))
    return row[-1]


def test_calibration_error_is_that_of_the_formula_and_of_a_model_that_is_right_as_it_says_small() -> None:
    draw = np.random.default_rng(6)
    probabilities = draw.uniform(size=40_000)
    right = (draw.uniform(size=40_000) < probabilities).astype(np.float64)
    assert expected_calibration_error(probabilities, right) < 0.01
    assert expected_calibration_error(probabilities, right * 0) == pytest.approx(probabilities.mean())
    few, hits = np.array([0.31, 0.39, 0.95, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])
    by_hand = (2 * abs(0.5 - 0.35) + 2 * abs(0.5 - 0.975)) / 4
    assert expected_calibration_error(few, hits) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    "tokens",
    [
        ["\u2581Hel", "lo", "\u2581world", "!", "</s>"],
        ["Hel@@", "lo", "world", "!", "</s>"],
    ],
)
def test_a_words_score_is_the_sum_of_its_pieces(tokens: list[str]) -> None:
    record: dict[str, Any] = {"tokens": tokens, "token_scores": [-1.0, -0.5, -0.25, -0.125, -3.0]}
    assert word_scores(["Hello", "world", "!"], record) == [-1.5, -0.25, -0.125]
    assert word_scores(["Hello", "World", "?"], record) is None
    assert word_scores(["Hello"], {"text": "Hello"}) is None
    # A score that is not finite is null in a record.
    assert (
        word_scores(["Hello", "world", "!"], record | {"token_scores": [-1.0, None, -1.0, -1.0, -3.0]})
        is None
    )
    assert word_scores(["Hello", "world", "!"], record | {"tokens": [*tokens[:3], 1, "</s>"]}) is None


def records(path: Path, lines: list[str], probability: float) -> Path:
    path.write_text(
        "".join(
            json.dumps(
                {
                    "text": line,
                    "tokens": [*Bleu().words(line), "</s>"],
                    "token_scores": [log(probability)] * (len(Bleu().words(line)) + 1),
                }
            )
            + "\n"
            for line in lines
        ),
        encoding="utf-8",
    )
    return path


class WellFormed(HTMLParser):
    """Notes elements that are not closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.kinds: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.kinds[tag] += 1
        assert not {name for name, _ in attrs} & {"src", "href", "onload", "onclick"}
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_has_every_analysis_of_two_systems_and_escapes_their_words(tmp_path: Path) -> None:
    one, two = records(tmp_path / "one.jsonl", BASE, 0.5), records(tmp_path / "two.jsonl", NEW, 0.9)
    right, source = tmp_path / "right.txt", tmp_path / "source.txt"
    right.write_text("".join(f"{line}\n" for line in RIGHT), encoding="utf-8")
    source.write_text("".join(f"{line.upper()} <script>\n" for line in RIGHT), encoding="utf-8")
    run = tmp_path / "<run>"
    run.mkdir()
    events = [{"event": "train", "update": update, "loss": 9 - update} for update in (1, 2, 3)]
    (run / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    page = tmp_path / "page.html"
    score(ScoreConfig(sys=(one, two), ref=(right,), src=source, report=page, runs=(run,), resamples=0))
    text = page.read_text(encoding="utf-8")
    for title in (
        "by frequency",
        "words come from",
        "is translated",
        "said again",
        "Calibration",
        "Learning",
    ):
        assert title in text
    parser = WellFormed()
    parser.feed(text)
    assert not parser.open
    assert not parser.kinds["script"]
    assert "&lt;run&gt;" in text
    # All words have one probability, 0.5.
    split = Bleu().words
    pairs = [(split(output), split(reference)) for output, reference in zip(BASE, RIGHT, strict=True)]
    right_share = sum(sum(in_reference(*pair)) for pair in pairs) / sum(len(output) for output, _ in pairs)
    assert f"{100 * abs(right_share - 0.5):.2f} %" in text


def test_a_run_without_a_log_is_named(tmp_path: Path) -> None:
    right = tmp_path / "right.txt"
    right.write_text("a\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no log\.jsonl"):
        score(ScoreConfig(sys=(right,), ref=(right,), report=tmp_path / "page.html", runs=(tmp_path,)))
