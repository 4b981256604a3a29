"""fairseq's checkpoints: settings, vocabularies and tokenizers, which its families of models have in common.

A .pt file holds the weights, and the settings as `cfg` (since 0.10.1) or `args`; dict.LANG.txt and the model of a
tokenizer stand beside it. All special symbols are those of ours: `<s>` 0, `<pad>` 1, `</s>` 2, which the decoder begins
with, and `<unk>` 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.console import notice
from s2scli.errors import CheckpointError, DataError
from s2scli.foreign.base import ForeignModel
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import WeightRow
from s2scli.text.pieces import NONE, recognize
from s2scli.text.subword import GivenSentencePieceTokenizer, read_sentencepiece_model
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import Vocabulary, read_dict_txt
from s2scli.text.word import WordTokenizer

# The padding symbol's number, from which positions are counted on: the first is at 2.
FIRST_POSITION = 2
_SIDES = {"source": "src", "target": "tgt"}
# Under these names models of SentencePiece are published with fairseq's checkpoints.
SENTENCEPIECE = ("sentencepiece.bpe.model", "sentence.bpe.model", "spm.model", "sentencepiece.model")


@dataclass(frozen=True)
class FairseqCheckpoint:
    """A checkpoint of fairseq's: its file, its model's settings and weights, and the languages by side."""

    path: Path
    settings: ForeignSettings
    weights: Mapping[str, Tensor]
    languages: Mapping[str, str]


def weights_of(source: ForeignSource) -> Mapping[str, Any]:
    """The weights of a checkpoint of fairseq's by name; nothing where it is none."""
    found = source.pytorch
    weights = found.get("model")
    if not isinstance(weights, Mapping) or not ("cfg" in found or "args" in found):
        return {}
    return {str(name): value for name, value in weights.items()}


def read_checkpoint(source: ForeignSource, wanted: ImportConfig) -> FairseqCheckpoint:
    """The checkpoint of a source; CheckpointError where it is none of fairseq's, or has no settings or weights."""
    path, weights = source.checkpoint, weights_of(source)
    if path is None or not weights:
        raise CheckpointError(
            f"{source.path}: no checkpoint of fairseq's, which has 'model' and 'cfg' or 'args'"
        )
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path}: model.{name} is no tensor")
    config = source.pytorch.get("cfg") or {}
    model = config.get("model") or source.pytorch.get("args")
    if not isinstance(model, Mapping):
        raise CheckpointError(f"{path}: has no settings of its model, cfg.model or args")
    values = _flat(model)
    task = config.get("task") if isinstance(config.get("task"), Mapping) else {}
    languages = {
        side: getattr(wanted, f"{side}_lang") or _text(values, task, f"{side}_lang") for side in _SIDES
    }
    return FairseqCheckpoint(path, ForeignSettings(values, path), weights, languages)


def _flat(model: Mapping[Any, Any]) -> dict[str, Any]:
    """Settings by their flat names, as encoder_layers: newer ones have those of each side in a table of their own."""
    values = {str(name): value for name, value in model.items()}
    for side in ("encoder", "decoder"):
        table = values.pop(side, None)
        if isinstance(table, Mapping):
            values |= {f"{side}_{name}": value for name, value in table.items()}
    return values


def _text(*tables_and_name: Any) -> str:
    *tables, name = tables_and_name
    return next((table[name] for table in tables if isinstance(table.get(name), str)), "")


def read_tokenizers(
    found: FairseqCheckpoint, source: ForeignSource, wanted: ImportConfig
) -> dict[str, Tokenizer]:
    """The tokenizers of both sides: of the dictionaries, and of SentencePiece's models or else of ready-made pieces."""
    tokenizers: dict[str, Tokenizer] = {}
    for side in _SIDES:
        vocabulary = read_dict_txt(_dictionary(found, source, wanted, side))
        model = _sentencepiece(source, wanted, side)
        if model is not None:
            tokenizers[side] = GivenSentencePieceTokenizer(read_sentencepiece_model(model), vocabulary)
        else:
            tokenizers[side] = _of_pieces(vocabulary, side)
    return tokenizers


def _dictionary(found: FairseqCheckpoint, source: ForeignSource, wanted: ImportConfig, side: str) -> Path:
    given: Path | None = getattr(wanted, f"{_SIDES[side]}dict")
    if given is not None:
        return given
    language = found.languages[side]
    names = [*([f"dict.{language}.txt"] if language and Path(language).name == language else []), "dict.txt"]
    path = source.file(*names)
    if path is None:
        raise DataError(
            f"{source.folder}: has no {' and no '.join(names)}, which has the {side} symbols; give it with "
            f"--{_SIDES[side]}dict"
        )
    return path


def _sentencepiece(source: ForeignSource, wanted: ImportConfig, side: str) -> Path | None:
    given: Path | None = getattr(wanted, f"{side}_sentencepiece")
    if side == "target" and given is None:
        given = wanted.source_sentencepiece
    return given or source.file(*SENTENCEPIECE)


def _of_pieces(vocabulary: Vocabulary, side: str) -> WordTokenizer:
    """A tokenizer of text that comes in the symbols of a dictionary, words or pieces of words."""
    kind, _ = recognize(vocabulary.ordinary_symbols)
    told = f"pieces of {kind}" if kind != NONE else "words"
    notice(
        f"{side}: the model reads {told} with spaces between them, as its dictionary has them; where a model of "
        f"SentencePiece makes them, give it with --{side}-sentencepiece"
    )
    return WordTokenizer(vocabulary, pieces=kind)


def foreign_model(
    source: ForeignSource,
    wanted: ImportConfig,
    *,
    arch: str,
    settings: Callable[[FairseqCheckpoint], dict[str, Any]],
    rows: Callable[[Mapping[str, Any]], Iterable[WeightRow]],
    completed: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
    unused: str = "",
) -> ForeignModel:
    """The model of a checkpoint of fairseq's.

    arch: our preset of the same family. settings: ours of a checkpoint. rows: the table of the weights of a model with
    such settings. completed: the weights with those that a file may leave out. unused: as ForeignModel has it.
    """
    found = read_checkpoint(source, wanted)
    model = settings(found)
    return ForeignModel(
        path=found.path,
        arch=arch,
        model=model,
        tokenizers=read_tokenizers(found, source, wanted),
        weights=completed(found.weights),
        table=[*rows(model)],
        unused=unused,
        source_lang=found.languages["source"],
        target_lang=found.languages["target"],
    )
