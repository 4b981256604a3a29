"""Words by Moses' rules: split as its library does, and joined again."""

from __future__ import annotations

import sys

import pytest
import sacremoses
from learned_tokenizers import learn

from s2scli.errors import S2SError
from s2scli.text.tokenizer import load_tokenizer


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Mr. Smith's dog isn't here, he said: \"It's 3.5 miles (or so) away!\""),
        ("de", "Die z.B. in Köln gekaufte Ware, ca. 1.000 Stück, kostet 5 Euro."),
        ("fr", "L'homme n'est pas là, dit-il."),
        ("en", "<ENT> & <b>"),
    ],
)
def test_moses_splits_as_its_library_and_joins_again(language: str, text: str) -> None:
    tokenizer = learn("moses", lines=(text,), language=language, vocab_size=None)
    ids = tokenizer.encode(text)
    if "<ENT>" not in text:
        own = sacremoses.MosesTokenizer(language).tokenize(text, escape=False)
        assert tokenizer.pieces(ids) == own
        assert tokenizer.decode(ids) == text
    else:
        assert tokenizer.pieces(ids) == ["<ENT>", "&", "<", "b", ">"]
    again = load_tokenizer(tokenizer.to_bytes())
    assert (again.encode(text), again.decode(ids)) == (ids, tokenizer.decode(ids))


@pytest.mark.parametrize("name", ["fr", "fr-CA", "fr_FR.UTF-8", "FR", "fra", "fre", "French"])
def test_moses_knows_a_language_by_all_its_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With fr-CA and such it split L'homme as English: the rules were lost, and nothing was said."""
    tokenizer = learn("moses", lines=("L'homme n'est pas là.",), language=name, vocab_size=None)
    assert tokenizer.pieces(tokenizer.encode("L'homme")) == ["L'", "homme"]
    assert tokenizer.document()["language"] == "fr"
    assert capsys.readouterr().err == ""


def test_moses_says_where_it_has_no_rules(capsys: pytest.CaptureFixture[str]) -> None:
    learn("moses", lines=("a",), language="tlh", vocab_size=None)
    assert "no rules for the language 'tlh'" in capsys.readouterr().err


def test_without_its_library_moses_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(S2SError, match=r"pip install 's2scli\[words\]'"):
        learn("moses", lines=("a",), language="en")
