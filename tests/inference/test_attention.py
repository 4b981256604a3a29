"""Alignments and words in place of unknown tokens, from attention that is made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import EOS, UNK
from toys import write_lines

from s2scli.errors import DataError
from s2scli.inference.attention import AttentionResults, put_in_place, read_replacements
from s2scli.inference.lines import EncodedLine
from s2scli.record import Hypothesis
from s2scli.search.request import ScoredOutput
from s2scli.text.character import CharacterTokenizer
from s2scli.text.normalization import Normalization
from s2scli.text.subword import SentencePieceTokenizer
from s2scli.text.tokenizer import LearningSettings, Tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

WORDS = WordTokenizer(Vocabulary(["a", "b", "c", "d"], [4, 3, 2, 1]))


def read(
    tokenizer: Tokenizer, source: str, ids: Sequence[int], looks: Sequence[Sequence[float]], **uses: Any
) -> Hypothesis:
    """What is made of an output that attends as told; ids and looks without the end symbol's."""
    source_ids = tokenizer.encode(source)
    weights = torch.full((len(ids) + 1, len(source_ids) + 1), 0.001)
    weights[:-1] = torch.tensor(looks).view(len(ids), len(source_ids) + 1)
    output = ScoredOutput([*ids, EOS], [0.0] * (len(ids) + 1), 0.0, weights.numpy())
    hypothesis = Hypothesis(
        text=tokenizer.decode(ids),
        score=0.0,
        tokens=tokenizer.pieces(output.ids),
        token_scores=output.token_scores,
    )
    both = {"source": tokenizer, "target": tokenizer}
    return AttentionResults(**uses).apply(hypothesis, output, both, EncodedLine(source, source_ids))


def test_an_unknown_word_becomes_the_raw_word_that_it_looks_at() -> None:
    ids = [4, UNK, 5, UNK]
    looks = [[0.9, 0, 0, 0.1], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0], [0.2, 0.7, 0.1, 0]]
    # The end symbol has most of the second's attention, and takes no part.
    found = read(WORDS, "x Zürich d", ids, looks, replaces_unknown=True)
    assert found.text == "a d b Zürich"
    assert (found.alignment, found.attention) == (None, None)
    found = read(
        WORDS, "x Zürich d", ids, looks, replaces_unknown=True, dictionary={"d": "zu Hause", "Zürich": ""}
    )
    assert found.text == "a zu Hause b "
    assert read(WORDS, "x Zürich d", ids, looks, alignment="word").text == "a <unk> b <unk>"


def test_a_typed_unk_is_text() -> None:
    typed = WordTokenizer(Vocabulary(["<unk>", "b"], [1, 1]))
    found = read(typed, "x y", [4, UNK], [[1.0, 0, 0], [0, 1.0, 0]], replaces_unknown=True)
    assert found.text == "<unk> y"


def test_each_word_is_aligned_with_the_one_it_looks_at_most() -> None:
    looks = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]]
    found = read(WORDS, "a b", [4, 5, 6], looks, alignment="word")
    assert found.alignment == [(0, 0), (1, 1), (1, 2)]
    assert found.pharaoh == "0-0 1-1 1-2"


def test_words_put_in_place_count_as_the_text_has_them() -> None:
    looks = [[0.0, 1.0, 0], [1.0, 0.0, 0]]
    found = read(
        WORDS, "x y", [UNK, 4], looks, replaces_unknown=True, alignment="word", dictionary={"y": "New York"}
    )
    assert found.text == "New York a"
    assert found.alignment == [(1, 0), (1, 1), (0, 2)]


def test_characters_are_put_together_to_words() -> None:
    tokenizer = CharacterTokenizer(Vocabulary(list(" abcd"), [1] * 5))
    ids = tokenizer.encode("ab c")
    # Source "cd a": the first output word looks at "cd" in sum, though "a" has the largest single weight.
    looks = [[0.3, 0.3, 0, 0.4, 0], [0.3, 0.3, 0, 0.4, 0], [0, 0, 1.0, 0, 0], [0, 0, 0, 0.9, 0.1]]
    assert read(tokenizer, "cd a", ids, looks, alignment="word").alignment == [(0, 0), (1, 1)]
    assert read(tokenizer, "cd a", ids, looks, alignment="token").alignment == [
        (3, 0),
        (3, 1),
        (2, 2),
        (3, 3),
    ]
    # An unknown character is replaced by one.
    found = read(tokenizer, "cß a", [UNK, *ids[1:]], [[0, 0.9, 0, 0.1, 0], *looks[1:]], replaces_unknown=True)
    assert found.text == "ßb c"


def test_of_subwords_whole_words_are_replaced_but_for_the_punctuation_around_them() -> None:
    corpus = ["the house (is) green, and the sea.", "a green house by the sea"] * 20
    tokenizer = SentencePieceTokenizer.learn(
        lambda: ([line] for line in corpus), LearningSettings(vocab_size=40), Normalization()
    )
    source = "the seaΩgreen, green"
    source_ids = tokenizer.encode(source)
    ids = tokenizer.encode("the (☃sea☃), green ☃")
    text = tokenizer.decode(ids)
    assert text.count("<unk>") == 3
    start, length = len(tokenizer.encode("the")), len(tokenizer.encode("seaΩgreen,"))
    assert length > 2
    looks = torch.zeros(len(ids), len(source_ids) + 1)
    looks[:, start : start + length] = 1 / length
    looks[:, 0] = 1.5 / length  # more than any piece of the word has, less than all of them
    found = read(tokenizer, source, ids, looks.tolist(), replaces_unknown=True)
    assert found.text == "the (seaΩgreen), green seaΩgreen"
    found = read(
        tokenizer, source, ids, looks.tolist(), replaces_unknown=True, dictionary={"seaΩgreen": "ocean"}
    )
    assert found.text == "the (ocean), green ocean"


def test_nothing_to_look_at() -> None:
    assert read(WORDS, "a", [], [], alignment="word").alignment == []
    assert put_in_place("", [], {}, whole_words=True) == ("", [])
    blank = CharacterTokenizer(Vocabulary([" "], [1]))
    found = read(blank, " ", [4, UNK], [[1.0, 0], [1.0, 0]], alignment="word", replaces_unknown=True)
    assert (found.text, found.alignment) == ("  ", [])


def test_weights_are_rounded() -> None:
    found = read(WORDS, "a", [4], [[0.123456, 0.9]], weights=True)
    assert found.attention == [[0.1235, 0.9], [0.001, 0.001]]


def test_the_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    write_lines(path, ["Haus\thouse", "New York\tNY", "Haus\tsecond", "weg\t"])
    assert read_replacements(path) == {"Haus": "house", "New York": "NY", "weg": ""}
    for line in ("Haus house", "\thouse", "a\tb\tc"):
        write_lines(path, ["Haus\thouse", line])
        with pytest.raises(DataError, match=r"words.tsv:2: .* is not a source word, a tab and a target word"):
            read_replacements(path)
    with pytest.raises(DataError, match="no such file"):
        read_replacements(tmp_path / "none")
