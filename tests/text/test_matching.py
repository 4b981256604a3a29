"""Which symbols two vocabularies share, and how one spells those of the other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from foreign_models import sentencepiece_model
from learned_tokenizers import learn
from sentencepiece import SentencePieceProcessor

from s2scli.text.character import CharacterTokenizer
from s2scli.text.matching import match_symbols
from s2scli.text.subword import GivenSentencePieceTokenizer, SentencePieceTokenizer
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import SpecialSymbols, Vocabulary
from s2scli.text.word import WordTokenizer


def words(*symbols: str, special: SpecialSymbols | None = None) -> WordTokenizer:
    parts = [special] if special else []
    return WordTokenizer(Vocabulary(symbols, [0] * len(symbols), *parts))


def characters(symbols: Sequence[str]) -> CharacterTokenizer:
    return CharacterTokenizer(Vocabulary(symbols, [0] * len(symbols)))


def named(own: Tokenizer, other: Tokenizer) -> dict[str, list[str]]:
    """What each ordinary symbol that is not new begins with: one name of the same, or those of its pieces."""
    match = match_symbols(own, other)
    found = {number: [there] for number, there in match.same.items()} | {
        number: [*pieces] for number, pieces in match.spelled.items()
    }
    return {
        own.vocabulary.symbols[number]: other.pieces(there)
        for number, there in sorted(found.items())
        if number >= own.special.count
    }


def test_words_are_found_whatever_their_order() -> None:
    own, other = words("cat", "dog", "cow"), words("cow", "hen", "cat")
    match = match_symbols(own, other)
    assert match.same == {1: 1, 2: 2, 3: 3, 4: 6, 6: 4}
    assert (match.spelled, match.num_shared, match.num_ordinary) == ({}, 2, 3)


def test_special_symbols_are_found_by_what_they_are_for() -> None:
    like_t5 = SpecialSymbols(start=0, end=1, padding=0, unknown=2)
    assert match_symbols(words("cat"), words("cat", special=like_t5)).same == {1: 0, 2: 1, 3: 2, 4: 3}
    # The start is the end here, and that is what ends a sentence.
    assert match_symbols(words("cat", special=like_t5), words("cat")).same == {0: 1, 1: 2, 2: 3, 3: 4}


def test_words_are_spelled_in_characters_and_those_with_an_unknown_one_are_new() -> None:
    assert named(words("ab", "a", "bé"), characters(" ab")) == {"ab": [" ", "a", "b"], "a": [" ", "a"]}


def test_a_word_is_the_piece_that_begins_with_a_space() -> None:
    other = learn("sentencepiece", lines=("cat cat cat cat dog", "dog do cat") * 9, vocab_size=14)
    assert "\u2581cat" in other.vocabulary
    assert named(words("cat"), other) == {"cat": ["\u2581cat"]}
    # Within a word there is no such space.
    found = named(characters("cat"), other)
    assert found == {letter: [letter] for letter in "cat"}


@pytest.mark.parametrize("kind", [SentencePieceTokenizer, GivenSentencePieceTokenizer])
def test_pieces_are_spelled_as_they_stand_in_text(kind: type[SentencePieceTokenizer]) -> None:
    """Joined, the pieces are the symbol, with a space before it or without one as it has itself.

    A given model puts a space before all text: where no piece begins as the text does, one with a space stands for it.
    """
    is_given = kind is GivenSentencePieceTokenizer
    as_ours = {"add_dummy_prefix": False, "remove_extra_whitespaces": False}
    model = sentencepiece_model(**({} if is_given else as_ours))
    processor = SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(number) for number in range(3, len(processor))]
    other = kind(model, Vocabulary(pieces, [0] * len(pieces)))
    longer = [f"{one}{two}" for one in pieces[:40] for two in pieces[40:60] if "\u2581" not in two]
    lacking = [piece for piece in longer if piece not in pieces]
    own = kind(model, Vocabulary(lacking, [0] * len(lacking)))
    found = named(own, other)
    assert len(found) > 50
    exact = ["".join(spelled) == symbol for symbol, spelled in found.items()]
    assert sum(exact) > 0.5 * len(exact) if is_given else all(exact)
    for symbol, spelled in found.items():
        assert "".join(spelled).removeprefix("\u2581") == symbol.removeprefix("\u2581")
