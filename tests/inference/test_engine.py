"""Any engine will do: what surrounds it, over one in plain Python, and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import plain_engine
import pytest
from plain_engine import WORDS, PlainEngine, translator_over

import s2scli
from s2scli.inference.attention import AttentionResults
from s2scli.inference.lines import Line
from s2scli.record import Record


def read(*texts: str) -> list[Line]:
    return [Line(number, text) for number, text in enumerate(texts)]


def texts(records: list[Record]) -> list[str]:
    return [record.text for record in records]


def test_nothing_but_an_engine_needs_torch() -> None:
    """In a process of its own, in which torch would be seen."""
    script = Path(plain_engine.__file__)
    environment = {**os.environ, "PYTHONPATH": str(Path(s2scli.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, check=True, env=environment, timeout=60
    )
    assert json.loads(done.stdout) == [["c b a", False], ["", False], ["d", False]]


@pytest.mark.parametrize("window", [1, 3, 100])
def test_records_come_in_order_however_they_are_batched(window: int) -> None:
    engine = PlainEngine()
    lines = read("a b", "", "a b c d", "e", "f g h", " ")
    records = list(translator_over(engine, nbest=2, beam=2).records(lines, window))
    assert texts(records) == ["b a", "", "d c b a", "e", "h g f", ""]
    assert [len(record.hypotheses) for record in records] == [2, 0, 2, 2, 2, 0]
    assert records[2].hypotheses[1].text == "a b c d"
    # Of each window the longest first, without those that are blank.
    assert engine.lines == {1: [0, 2, 3, 4], 3: [2, 0, 4, 3], 100: [2, 4, 0, 3]}[window]


def test_where_memory_runs_out_half_as_many_are_searched_for_at_a_time() -> None:
    engine, counted = PlainEngine(memory=2), []
    translator = translator_over(engine)
    records = list(translator.records(read(*"abcdefg"), 100, counted.append))
    assert texts(records) == [*"abcdefg"]
    assert engine.calls == [7, 3, 1]
    assert engine.num_released == 2
    assert sum(counted) == 7
    with pytest.raises(MemoryError):
        list(translator_over(PlainEngine(memory=0)).records(read("a"), 1))


def test_a_line_that_is_too_long_is_answered_in_parts() -> None:
    limits = {"max_source_length": 3, "on_long": "truncate"}
    attention = AttentionResults(alignment="word")
    translator = translator_over(PlainEngine(), limits=limits, on_long="split", attention=attention)
    whole, long = translator.records(read("a b", "c d a. e b."), 100)
    assert (whole.text, whole.hypotheses[0].pharaoh, whole.notes) == ("b a", "1-0 0-1", [])
    assert (long.text, long.hypotheses[0].pharaoh) == ("a. d c b. e", "2-0 1-1 0-2 4-3 3-4")
    assert [note.text for note in long.notes] == [
        "5 source tokens, more than the 3 that the model was trained for; translated in 2 parts"
    ]


def test_references_are_scored() -> None:
    lines = [Line(0, "a b", "c d"), Line(1, "", "a"), Line(2, "c", "h")]
    first, blank, last = translator_over(PlainEngine(), scores_references=True).records(lines, 100)
    ids = WORDS.encode("c d")
    assert first.hypotheses[0].token_scores == [-float(ids[0]), -float(ids[1]), -2.0]
    assert first.hypotheses[0].score == pytest.approx(-(sum(ids) + 2) / 3)
    assert not blank.hypotheses
    assert last.text == "h"


def test_a_language_model_goes_on_with_its_lines() -> None:
    engine = PlainEngine(reads_source=False)
    records = list(translator_over(engine, target_prefix="a").records(read("b c", ""), 100))
    assert texts(records) == ["a b c a b c", "a a"]
    scores = translator_over(engine, scores_references=True)
    (line,) = read("b c")
    scores.check(line)  # its text is what is scored
    (scored,) = scores.records([line], 100)
    assert scored.hypotheses[0].tokens[:-1] == ["b", "c"]
