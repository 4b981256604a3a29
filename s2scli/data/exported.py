"""The folder that `s2s export` writes: the other toolkit's files, and beside them what `s2s generate` needs to know.

`s2s.json` says how text becomes the model's input and which engine runs it; SIDE.tokenizer.json are the tokenizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from s2scli import document
from s2scli.checkpoint_file import EXPORTED, SIDES, TrainedOn, open_checkpoint
from s2scli.data.tokenizers import tokenizer_file
from s2scli.errors import CheckpointError, DataError
from s2scli.io import write_atomically
from s2scli.record import to_json_text
from s2scli.schema import setting
from s2scli.text.tokenizer import Tokenizer, load_tokenizer
from s2scli.text.vocabulary import Vocabulary

FORMAT = "s2s-exported"
VERSION = 1
_AGAIN = "export the model again"
# What makes a name unlike any other: text that a vocabulary has learnt holds it escaped only.
_MARK = "\u2585"
_WITHOUT_SPACE = str.maketrans(dict.fromkeys(" \t\n\r\v\f", _MARK))


@dataclass(frozen=True, kw_only=True)
class ExportedShortlist:
    """The translations of each source token, and the frequent tokens, that the folder's shortlist table has."""

    translations: int = setting(..., "translations of a source token", at_least=1)
    frequent: int = setting(..., "frequent tokens", at_least=0)


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """What `s2s.json` says.

    engine: what runs the model, of components.py. arch, dataset, right_to_left: as the checkpoint has them.
    reads_source: whether there is an encoder. positions: the most tokens, end symbol counted, that there are positions
    for, by side. alignment_layer: the decoder layer whose attention the folder can tell, from 0.
    quantization: of the weights, as the toolkit calls it.
    """

    engine: str
    arch: str
    dataset: Mapping[str, Any]
    right_to_left: bool
    reads_source: bool
    positions: Mapping[str, int]
    alignment_layer: int = setting(..., "a decoder layer", at_least=0)
    quantization: str
    shortlist: ExportedShortlist | None = None


@dataclass(frozen=True, kw_only=True)
class ExportedDocument:
    """What else the file says, and more of what is in its dataset."""

    format: str
    version: int = setting(..., "of the format", at_least=1)
    dataset: TrainedOn


def write_exported(folder: Path, model: ExportedModel, tokenizers: Mapping[str, Tokenizer]) -> None:
    """Write the tokenizers into a folder, and then what makes it one that `read_exported` reads."""
    for side, tokenizer in tokenizers.items():
        with write_atomically(folder / tokenizer_file(side)) as temporary:
            temporary.write_bytes(tokenizer.to_bytes())
    values = {"format": FORMAT, "version": VERSION, **asdict(model)}
    with write_atomically(folder / EXPORTED) as temporary:
        temporary.write_text(f"{to_json_text(values, indent=2)}\n", encoding="utf-8")


def read_exported(path: Path) -> ExportedModel:
    """What the `s2s.json` at a path says; CheckpointError where it is broken."""
    with document.blaming(path, _AGAIN, CheckpointError):
        values = document.read(path, Mapping[str, Any])
        if values.get("format") != FORMAT:
            raise DataError("not what s2s export writes")
        if isinstance(version := values.get("version"), int) and version > VERSION:
            raise DataError(f"format {version} is newer than this s2s knows ({VERSION})")
        for shape in (ExportedDocument, ExportedModel):
            document.check(values, shape)
    shortlist = values.get("shortlist") and ExportedShortlist(**values["shortlist"])
    names = {field.name for field in fields(ExportedModel)}
    return ExportedModel(**{name: values[name] for name in names & values.keys()} | {"shortlist": shortlist})


def exported_tokenizers(path: Path, model: ExportedModel) -> dict[str, Tokenizer]:
    """The tokenizers beside the `s2s.json` at a path, by side; CheckpointError where one is broken."""
    found: dict[str, Tokenizer] = {}
    # Where both sides have one vocabulary it is read once.
    read: dict[bytes, Tokenizer] = {}
    for side in SIDES if model.reads_source else SIDES[1:]:
        file = path.with_name(tokenizer_file(side))
        with document.blaming(file, _AGAIN, CheckpointError):
            try:
                data = file.read_bytes()
            except OSError as error:
                raise DataError(f"cannot read: {error.strerror}") from None
            found[side] = read[data] = read.get(data) or load_tokenizer(data)
    return found


def arch_and_dataset(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The preset of a model, a checkpoint's or an exported one's, and what it remembers of its training's dataset."""
    if path.name == EXPORTED:
        model = read_exported(path)
        return model.arch, model.dataset
    with open_checkpoint(path) as (_, header):
        return header["config"]["arch"], header["dataset"]


def unique_names(vocabulary: Vocabulary) -> list[str]:
    """A name for each id, no two of them the same and none with white space, for toolkits that know tokens by names.

    Special symbols keep theirs. An ordinary symbol that is spelled as an earlier one, as a `</s>` that is text, gets a
    mark behind it, and white space in a symbol becomes that mark.
    """
    names: dict[str, None] = {}
    for symbol in vocabulary.symbols:
        name = symbol.translate(_WITHOUT_SPACE) or _MARK
        while name in names:
            name += _MARK
        names[name] = None
    return list(names)
