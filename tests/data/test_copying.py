"""Pairs in the vocabulary that a model copies with, by hand."""

from __future__ import annotations

import pytest
from fairseq_symbols import UNK

from s2scli.data.copying import Copying
from s2scli.errors import UsageError
from s2scli.text.character import CharacterTokenizer
from s2scli.text.normalization import Normalization
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.text.words import extend


def words(
    *symbols: str, normalization: Normalization | None = None, tags: tuple[str, ...] = ()
) -> WordTokenizer:
    return WordTokenizer(Vocabulary((*tags, *symbols), [1] * (len(tags) + len(symbols))), normalization, tags)


# The source knows a to d (4 to 7), the target c to f (4 to 7).
SOURCE, TARGET = words("a", "b", "c", "d"), words("c", "d", "e", "f")


def test_words_of_two_vocabularies() -> None:
    """What the target knows is its word, whether the source knows it or not; else it is numbered as it comes first."""
    copying = Copying(SOURCE, TARGET)
    text = "a x c e x b a d"
    ids = SOURCE.encode(text)
    assert ids == [4, UNK, 6, UNK, UNK, 5, 4, 7]
    assert copying.source(ids, text) == ([8, 9, 4, 6, 9, 10, 8, 5], ["a", "x", "b"])
    target = "x f y b x <unk> c"
    extended = [9, 7, UNK, 10, 9, UNK, 4]
    assert copying.pair((ids, text), (TARGET.encode(target), target)) == ([8, 9, 4, 6, 9, 10, 8, 5], extended)
    backwards = TARGET.encode(target)[::-1]
    assert copying.pair((ids, text), (backwards, target), right_to_left=True)[1] == extended[::-1]


def test_lines_that_were_cut() -> None:
    copying = Copying(SOURCE, TARGET)
    assert copying.source(SOURCE.encode("x a y")[:2], "x a y") == ([8, 9], ["x", "a"])
    assert extend(TARGET, "x y z", [UNK, UNK], ["y"]) == [UNK, 8]


def test_a_line_after_a_tag_that_lost_its_beginning() -> None:
    source = words("a", "b", tags=("<to>",))
    text = "<to> x y x b"
    ids = source.encode(text)
    assert Copying(source, TARGET).source([ids[0], *ids[3:]], text) == ([8, 9, 10], ["<to>", "x", "b"])


def test_text_is_compared_as_it_is_normalized() -> None:
    lower = Normalization(lowercase=True)
    source, target = words("a", normalization=lower), words("c", normalization=lower)
    copying = Copying(source, target)
    assert copying.pair((source.encode("X a"), "X a"), (target.encode("C x"), "C x")) == ([5, 6], [4, 5])


def test_what_was_copied_is_written() -> None:
    own = TARGET.with_words(["x", "New"])
    assert own.pieces([4, 8, 9, 2]) == ["c", "x", "New", "</s>"]
    assert own.decode([9, 4, 8]) == "New c x"
    assert TARGET.with_words([]).document() == own.document()


def test_characters() -> None:
    tokenizer = CharacterTokenizer(Vocabulary(["a", " "], [1, 1]))
    ids, own = Copying(tokenizer, tokenizer).source(tokenizer.encode("ab a"), "ab a")
    assert (ids, own) == ([4, 6, 5, 4], ["b"])


def test_sides_that_are_split_in_two_ways() -> None:
    with pytest.raises(UsageError, match="by the tokenizer 'word' and targets by 'character'"):
        Copying(SOURCE, CharacterTokenizer(Vocabulary(["a"], [1])))
