"""What the files of a dataset folder are called (see data/dataset.py), and of which types their numbers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from s2scli import document
from s2scli.data.meta import AGAIN
from s2scli.data.tokenizers import tokenizer_file
from s2scli.text.tokenizer import Tokenizer, read_tokenizer

TAG = "tag"


def ids_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest type that holds every id of a vocabulary."""
    return np.dtype("<u2") if vocabulary_size <= 0x10000 else np.dtype("<u4")


def tokenizer_of(folder: Path, name: str) -> Tokenizer:
    """The tokenizer of a column in a dataset folder; DataError, with the file, where it is broken."""
    path = folder / tokenizer_file(name)
    with document.blaming(path, AGAIN):
        return read_tokenizer(path)
