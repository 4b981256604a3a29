"""What is told of vocabularies."""

from __future__ import annotations

from dataclasses import asdict

from s2scli.inspection.show_dataset import vocabulary_lines
from s2scli.inspection.vocabulary import describe_vocabulary
from s2scli.text.vocabulary import SpecialSymbols, Vocabulary
from s2scli.text.word import WordTokenizer


def test_special_symbols_that_are_not_fairseqs_are_told() -> None:
    as_t5 = SpecialSymbols(start=0, end=1, padding=0, unknown=2)
    sides = {
        "source": describe_vocabulary(WordTokenizer(Vocabulary(["a"], [1]))),
        "target": describe_vocabulary(WordTokenizer(Vocabulary(["a"], [1], as_t5))),
    }
    lines = [*vocabulary_lines(sides, None)]
    told = [line for line in lines if "special" in line]
    assert told == [
        "target: ids of special symbols other than fairseq's: start 0, end 1, padding 0, unknown 2"
    ]
    assert asdict(sides["target"])["special"] == {"start": 0, "end": 1, "padding": 0, "unknown": 2}
