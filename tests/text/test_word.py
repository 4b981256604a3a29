"""Words of white space: the vocabulary is as one counts it by hand, and a given dictionary decides the ids."""

from __future__ import annotations

import pytest
from learned_tokenizers import learn

from s2scli.errors import UsageError
from s2scli.text.vocabulary import Vocabulary


def test_the_word_vocabulary_by_hand() -> None:
    lines = ("the cat saw the cat", "the dog ran", "a dog")
    kept = learn("word", lines=lines, user_symbols=(), threshold=2).vocabulary
    assert kept.ordinary_symbols == ("the", "cat", "dog")
    assert kept.ordinary_counts == (3, 2, 2)
    assert learn("word", lines=lines, user_symbols=(), num_words=5).vocabulary.ordinary_symbols == ("the",)
    assert len(learn("word", lines=lines, user_symbols=(), vocab_size=6)) == 6


def test_a_given_dictionary_decides_the_ids() -> None:
    dictionary = Vocabulary(["▁bed", "▁a", "nothing"], [1, 1, 1])
    tokenizer = learn("sentencepiece", dictionary=dictionary, user_symbols=())
    assert tokenizer.vocabulary == dictionary
    assert 5 in tokenizer.encode("a xyz")
    assert tokenizer.decode([5, 4, 6]) == "a bednothing"
    with pytest.raises(UsageError, match="<ENT> not in the dictionary"):
        learn("word", dictionary=dictionary, user_symbols=("<ENT>",))
