"""Folders of transformers: weights in one file of safetensors, in shards of it, or in PyTorch's older files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from s2scli import document
from s2scli.errors import CheckpointError, DataError
from s2scli.files import name_in_utf8
from s2scli.foreign.formats.pytorch import read_pytorch

# What a folder may have its weights in, the better ones first: safetensors hold nothing else.
_WHOLE, _SHARDED = ("model.safetensors", "pytorch_model.bin"), ".index.json"


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """An index of shards: in which file of the folder each tensor is."""

    weight_map: Mapping[str, str]


def read_folder(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder by name, mapped from its files.

    Raises CheckpointError where it has none, a shard is missing or broken, or a file holds no tensors.
    """
    for name in _WHOLE:
        index = folder / f"{name}{_SHARDED}"
        if (folder / name).is_file():
            return _read(folder / name)
        if index.is_file():
            return _read_shards(index)
    wanted = f"{' or '.join(_WHOLE)}, or shards of them with their index"
    raise CheckpointError(f"{folder}: has no weights; wanted: {wanted}")


def _read(path: Path) -> dict[str, Tensor]:
    return read_safetensors(path) if path.suffix == ".safetensors" else _only_tensors(path)


def _only_tensors(path: Path) -> dict[str, Tensor]:
    found = read_pytorch(path)
    if not isinstance(found, Mapping) or not all(isinstance(item, Tensor) for item in found.values()):
        raise CheckpointError(f"{path}: holds something other than tensors by name")
    return {str(name): item for name, item in found.items()}


def _read_shards(index: Path) -> dict[str, Tensor]:
    with document.blaming(index, "take another copy of the folder", CheckpointError):
        where: Mapping[str, str] = document.read(index, ShardIndex)["weight_map"]
        for name in where.values():
            # A name that leads out of the folder is no shard of it.
            if Path(name).name != name:
                raise DataError(f"weight_map names {name!r}, which is no file of this folder")
    found: dict[str, Tensor] = {}
    for name in dict.fromkeys(where.values()):
        shard = index.parent / name
        if not shard.is_file():
            raise CheckpointError(f"{shard}: this shard is missing; {index.name} names it")
        held = _read(shard)
        wanted = [tensor for tensor, file in where.items() if file == name]
        for tensor in wanted:
            if tensor not in held:
                raise CheckpointError(f"{shard}: has no {tensor}, which {index.name} says is there")
        found |= {tensor: held[tensor] for tensor in wanted}
    return found


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; CheckpointError where it is none of safetensors, or cut short."""
    try:
        with name_in_utf8(path) as name, safe_open(name, framework="pt") as stream:
            return {tensor: stream.get_tensor(tensor) for tensor in stream.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: no file of safetensors, or cut short ({error})") from None
