"""What is in a dataset folder under which name (see data/dataset.py)."""

from __future__ import annotations

from pathlib import Path

from s2scli import document
from s2scli.data.meta import AGAIN
from s2scli.data.tokenizers import tokenizer_file
from s2scli.text.tokenizer import Tokenizer, read_tokenizer

TAG = "tag"


def tokenizer_of(folder: Path, name: str) -> Tokenizer:
    """The tokenizer of a column in a dataset folder; DataError, with the file, where it is broken."""
    path = folder / tokenizer_file(name)
    with document.blaming(path, AGAIN):
        return read_tokenizer(path)
