"""Folders of transformers: settings, special symbols and the symbols that were added to a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from s2scli import document
from s2scli.errors import CheckpointError, DataError
from s2scli.files import read_small
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import CONFIG, ForeignSource

_GENERATION, _TOKENIZER_CONFIG, _TOKENIZER, _ADDED = (
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "added_tokens.json",
)


def is_of_type(source: ForeignSource, *names: str) -> bool:
    """Whether a source is a folder of transformers with a model of one of these types."""
    return source.config.get("model_type") in names


def is_transformers_folder(path: Path) -> bool:
    """Whether a path is a folder that says of which type its model is, as those of transformers do."""
    return path.is_dir() and "model_type" in ForeignSource(path).config


def folder_settings(source: ForeignSource) -> ForeignSettings:
    """The settings of a folder's model, with those of generating where the others do not say them."""
    if not source.path.is_dir() or source.file(CONFIG) is None:
        raise CheckpointError(f"{source.path}: no folder with {CONFIG}, as transformers writes them")
    generation = source.json(_GENERATION) if source.file(_GENERATION) else {}
    own = {name: value for name, value in source.config.items() if value is not None}
    return ForeignSettings({**generation, **own}, source.path / CONFIG)


def tokenizer_settings(source: ForeignSource) -> Mapping[str, Any]:
    """What a folder says of its tokenizer; nothing where it says nothing."""
    return source.json(_TOKENIZER_CONFIG) if source.file(_TOKENIZER_CONFIG) else {}


def required(source: ForeignSource, *names: str) -> Path:
    """The first of some files that a folder has; CheckpointError where it has none."""
    path = source.file(*names)
    if path is None:
        raise CheckpointError(
            f"{source.folder}: has no {' and no '.join(names)}, which the tokenizer is made of"
        )
    return path


def read_text(path: Path) -> str:
    """What is in a file of text; CheckpointError where it is no UTF-8."""
    try:
        return read_small(path).decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: is not UTF-8") from None


def read_vocabulary(source: ForeignSource, name: str) -> dict[str, int]:
    """Symbol → id, of a JSON file; CheckpointError where it is missing, or holds something else."""
    path = required(source, name)
    with document.blaming(path, "take another copy of the folder", CheckpointError):
        values: Mapping[str, int] = document.read(path, Mapping[str, int])
        if len(set(values.values())) != len(values):
            raise DataError("has one id for two symbols")
    return dict(values)


def added_symbols(source: ForeignSource) -> dict[str, int]:
    """Symbols that were added to a tokenizer, by their text, with their ids, of all files that say so."""
    found: dict[str, int] = {}
    if source.file(_ADDED):
        found |= read_vocabulary(source, _ADDED)
    for text, number in (*_of_tokenizer(source), *_of_settings(source)):
        if isinstance(text, str) and isinstance(number, int):
            found.setdefault(text, number)
    return found


def _of_tokenizer(source: ForeignSource) -> Iterator[tuple[Any, Any]]:
    entries = source.json(_TOKENIZER).get("added_tokens") if source.file(_TOKENIZER) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping):
            yield entry.get("content"), entry.get("id")


def _of_settings(source: ForeignSource) -> Iterator[tuple[Any, Any]]:
    table = tokenizer_settings(source).get("added_tokens_decoder")
    for number, entry in table.items() if isinstance(table, Mapping) else ():
        if isinstance(entry, Mapping) and str(number).isdecimal():
            yield entry.get("content"), int(number)
