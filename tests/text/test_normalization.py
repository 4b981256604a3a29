import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2scli.text.normalization import Normalization, is_blank, user_symbol_pattern

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\n"))


@given(TEXT)
def test_the_default_changes_nothing(text: str) -> None:
    assert Normalization().apply(text) == text


@pytest.mark.parametrize(
    ("settings", "text", "wanted"),
    [
        ({"lowercase": True}, "Ein ÄPFEL", "ein äpfel"),
        ({"strip_punctuation": True}, "Well , yes: «no» 你好。", "Well yes no 你好"),
        ({"strip_punctuation": True}, "a+b=3$", "a+b=3$"),
        ({"stopwords": ("the", "a")}, "the cat  and the dog a", "cat and dog"),
        ({"stopwords": ("the",)}, "The theme", "The theme"),
        ({"stopwords": ("THE",), "lowercase": True}, "The cat", "cat"),
        ({"stopwords": ("don't",), "strip_punctuation": True}, "I don't, know", "I know"),
        ({"unicode_normalization": "NFC"}, "e\u0301", "\u00e9"),
        ({"unicode_normalization": "NFD"}, "\u00e9", "e\u0301"),
        ({"unicode_normalization": "NFKC"}, "\uff21 \ufb01", "A fi"),
        ({"unicode_normalization": "NFKD"}, "\uff21 \u00e9", "A e\u0301"),
    ],
)
def test_each_setting(settings: dict, text: str, wanted: str) -> None:
    assert Normalization(**settings).apply(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The <E1> , the <E1>!", "<E1> <E1>"),
        ("<E1>", "<E1>"),
        (" <E1>the<E1> ", "<E1><E1>"),
        ("X<E1> the , <E12> Y", "x<E1> <E12> y"),
    ],
)
def test_user_symbols_stay_as_they_are(text: str, wanted: str) -> None:
    normalization = Normalization(lowercase=True, strip_punctuation=True, stopwords=("the",))
    assert normalization.apply(text, ("<E1>", "<E12>")) == wanted


def test_the_longest_user_symbol_is_cut_out_first() -> None:
    pattern = user_symbol_pattern(("ab", "abc"))
    assert Normalization().split("xabcab", pattern) == ["x", "abc", "", "ab", ""]


@given(TEXT)
def test_removing_leaves_single_spaces_and_no_punctuation(text: str) -> None:
    result = Normalization(strip_punctuation=True).apply(text)
    assert result == re.sub(r"\s+", " ", result).strip(" ")
    assert not any(unicodedata.category(character).startswith("P") for character in result)
    kept = [c for c in text if not unicodedata.category(c).startswith("P") and not c.isspace()]
    assert [c for c in result if not c.isspace()] == kept


def test_white_space_and_digits() -> None:
    spaces = Normalization(normalize_whitespace=True)
    assert spaces.apply(" a\u00a0\u3000b\t c ") == "a b c"
    assert spaces.apply(" a <x>  b", ["<x>"]) == "a <x> b"
    assert Normalization(normalize_digits=True).apply("٣۴५ ４2 一 ² ½ x") == "345 42 一 ² ½ x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t\u3000\u00a0",
        "\u200b",
        "\ufeff",
        "\u200b \u200d\u2060",
        "\u00ad",
        "\u3164",
        "\u202e\u202c",
    ],
)
def test_what_cannot_be_seen_is_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text}.{text}")


@pytest.mark.parametrize("text", [".", "a\u200bb", "\u0301", "\u2800", "👩\u200d👩", "\x07", "\ufffd"])
def test_what_can_be_seen_is_not(text: str) -> None:
    assert not is_blank(text)
