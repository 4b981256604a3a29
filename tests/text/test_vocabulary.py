from pathlib import Path

import pytest
from fairseq_symbols import UNK

from s2scli.errors import DataError
from s2scli.text.vocabulary import Vocabulary, read_dict_txt, select_symbols


def test_special_ids_are_those_of_fairseq() -> None:
    vocabulary = Vocabulary(["a"], [1])
    special = vocabulary.special
    assert (special.padding, special.end, special.unknown, special.start) == (1, 2, 3, 2)
    assert vocabulary.symbols == ("<s>", "<pad>", "</s>", "<unk>", "a")
    assert vocabulary.lookup("a") == 4
    assert len(vocabulary) == 5


def test_a_typed_special_symbol_is_text() -> None:
    assert Vocabulary(["a"], [1]).lookup("</s>") == UNK
    assert Vocabulary(["a", "</s>"], [1, 1]).lookup("</s>") == 5


def test_a_symbol_cannot_be_there_twice() -> None:
    with pytest.raises(DataError, match="'a' is in the vocabulary twice"):
        Vocabulary(["a", "b", "a"], [1, 1, 1])


def test_the_fingerprint_is_of_the_symbols_only() -> None:
    first = Vocabulary(["a", "b"], [1, 2]).fingerprint
    assert first == Vocabulary(["a", "b"], [7, 8]).fingerprint
    assert first != Vocabulary(["b", "a"], [1, 2]).fingerprint


def test_a_dictionary_file_reads_back(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a", " ", "two words", "\u2028", "</s>"], [5, 4, 3, 2, 1])
    path = tmp_path / "dict.txt"
    path.write_text(vocabulary.to_dict_txt(), encoding="utf-8", newline="")
    assert path.read_text(encoding="utf-8").startswith("a 5\n  4\ntwo words 3\n")
    assert read_dict_txt(path) == vocabulary


def test_a_fairseq_overwrite_mark_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_text("a 3\n<unk> 2 #fairseq:overwrite\n")
    assert read_dict_txt(path).ordinary_symbols == ("a", "<unk>")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a 1\nb\n", ":2: 'b' is not a symbol"), ("a x\n", ":1: 'a x' is not"), ("a 1\na 2\n", ":2: .* twice")],
)
def test_a_broken_dictionary_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "dict.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=f"dict.txt{message}"):
        read_dict_txt(path)


# Counted by hand: the 4, cat 3, a 3, dog 2, red 1.
COUNTS = {"the": 4, "cat": 3, "red": 1, "a": 3, "dog": 2}


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({}, ("the", "a", "cat", "dog", "red")),
        ({"threshold": 2}, ("the", "a", "cat", "dog")),
        ({"threshold": 3}, ("the", "a", "cat")),
        ({"num_words": 6}, ("the", "a")),  # the four special symbols are counted, as in fairseq
        ({"num_words": 100}, ("the", "a", "cat", "dog", "red")),
        ({"num_words": 7, "user_symbols": ("<e>", "dog")}, ("<e>", "dog", "the")),
        ({"threshold": 4, "user_symbols": ("dog",)}, ("dog", "the")),
    ],
)
def test_symbols_are_selected_as_fairseq_does(limits: dict, wanted: tuple[str, ...]) -> None:
    vocabulary = select_symbols(COUNTS, **limits)
    assert vocabulary.ordinary_symbols == wanted
    assert vocabulary.ordinary_counts == tuple(COUNTS.get(symbol, 0) for symbol in wanted)
