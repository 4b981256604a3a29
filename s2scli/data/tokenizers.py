"""The tokenizers that a checkpoint holds, and whether those of others are the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2scli.checkpoint_file import sides_of, tokenizer_bytes
from s2scli.console import counted
from s2scli.errors import CheckpointError, DataError
from s2scli.text.sameness import difference
from s2scli.text.tokenizer import Tokenizer, load_tokenizer


def tokenizer_file(name: str) -> str:
    """The name of a tokenizer's document in a folder: a dataset's, or an exported model's."""
    return f"{name}.tokenizer.json"


def read_tokenizers(stream: Any, header: Mapping[str, Any]) -> dict[str, Tokenizer]:
    """The tokenizers of a checkpoint that open_checkpoint has opened, normalization and user symbols included.

    DataError where it holds an adapter alone, which has none.
    """
    if header["base"]:
        raise DataError(
            f"it holds an adapter alone, and the model of fingerprint {header['base']} has the tokenizers"
        )
    return {side: load_tokenizer(tokenizer_bytes(stream, side)) for side in sides_of(header)}


def check_vocabularies(
    own: Mapping[str, Tokenizer], path: Path, tokenizers: Mapping[str, Tokenizer], data: Path, remedy: str
) -> None:
    """CheckpointError, naming both vocabularies, where a checkpoint's own are not those of other data."""
    for side in own:
        if side not in tokenizers:
            raise CheckpointError(f"{path}: reads text as {side}, and {data} has none; {remedy}")
        of_model, of_data = own[side], tokenizers[side]
        if differs := difference(of_model, of_data):
            names = [
                f"{item.vocabulary.fingerprint} ({counted(len(item), 'symbol')}, {item.kind})"
                for item in (of_model, of_data)
            ]
            raise CheckpointError(
                f"{path}: trained with {side} vocabulary {names[0]}, but {data} has {names[1]}: {differs}; {remedy}"
            )
