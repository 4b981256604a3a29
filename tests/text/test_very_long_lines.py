"""Lines that a vocabulary is learnt from in parts, since SentencePiece takes too long for them whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import sentencepiece
from fairseq_symbols import UNK

from s2scli.text.normalization import Normalization
from s2scli.text.subword import SentencePieceTokenizer
from s2scli.text.subword_learning import learnt_parts
from s2scli.text.tokenizer import LearningSettings

DRAW = random.Random(1)
WORDS = ["".join(DRAW.choices("abcdefgh", k=DRAW.randint(2, 6))) for _ in range(800)]
LINES = [" ".join(WORDS[at : at + 8]) for at in range(0, len(WORDS), 8)]


def learn(lines: list[str], model: str) -> SentencePieceTokenizer:
    settings = LearningSettings(vocab_size=120, sentencepiece_model=model)
    return SentencePieceTokenizer.learn(lambda: ([line] for line in lines), settings, Normalization())


@pytest.mark.parametrize("model", ["unigram", "bpe"])
@pytest.mark.parametrize("unit", ["a", "ab", "ab ", "中"])
def test_a_line_that_repeats_itself_is_learnt_from_in_parts(
    model: str, unit: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, 200 KB of one letter took 18 s of processor time, and 1 MB more than 200 s."""
    longest, train = 0, sentencepiece.SentencePieceTrainer.train

    def noted(sentences: Iterator[str]) -> Iterator[str]:
        nonlocal longest
        for sentence in sentences:
            longest = max(longest, len(sentence.encode()))
            yield sentence

    def train_noted(sentence_iterator: Iterator[str], **settings: Any) -> None:
        train(sentence_iterator=noted(sentence_iterator), **settings)

    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "train", train_noted)
    long = unit * (50_000 // len(unit))
    tokenizer = learn([*LINES, long], model)
    ids = tokenizer.encode(long)
    assert longest <= 4192
    assert UNK not in ids
    assert tokenizer.decode(ids) == long
    assert "vocabulary: 1 line over 4,192 bytes learnt from in parts\n" in capsys.readouterr().err


def test_the_parts_are_all_of_a_line_and_words_stay_whole() -> None:
    text = " ".join(DRAW.choices(WORDS, k=5000))
    parts = learnt_parts(f" {text}")
    assert len(parts) > 20
    assert "".join(parts) == f" {text}"
    assert all(part.startswith(" ") and len(part) <= 1024 for part in parts)
    assert [word for part in parts for word in part.split()] == text.split()
    assert "".join(learnt_parts("中" * 5000)) == "中" * 5000


@pytest.mark.parametrize("line", ["", "a b", "a" * 4191, "中" * 1397, "ab " * 1397])
def test_other_lines_are_learnt_from_as_they_are(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert learnt_parts(line) == [line]
    learn([*LINES, line], "unigram")
    assert "in parts" not in capsys.readouterr().err
