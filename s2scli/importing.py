"""`s2s import`: a checkpoint of ours of another toolkit's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.checkpoint import save_checkpoint
from s2scli.checkpoint_file import BEST, LAST
from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.importing import ImportConfig
from s2scli.console import counted, notice
from s2scli.errors import UsageError
from s2scli.foreign.base import ForeignFamily
from s2scli.foreign.conversion import converted, recognized
from s2scli.foreign.peft import CONFIG as ADAPTER
from s2scli.foreign.peft import Base, read_adapter
from s2scli.foreign.source import ForeignSource
from s2scli.needs import note_needs
from s2scli.toml import write_toml


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """The checkpoint that was written, what kind of model it was made of, and how many parameters it has."""

    checkpoint: Path
    family: str
    parameters: int


def import_model(config: ImportConfig) -> ImportResult:
    """Write a checkpoint with the weights, settings and tokenizers of another toolkit's model.

    Raises UsageError where --save-dir holds a run, and DataError or CheckpointError, which names the file and the field
    or tensor, where the model is broken or cannot be one of ours.
    """
    note_needs(config)
    _check_folder(config.save_dir)
    if (config.source / ADAPTER).is_file():
        return _import_adapter(config)
    if config.base is not None:
        raise UsageError(
            f"--base {config.base}: {config.source} is no folder of PEFT, with {ADAPTER}; leave it out"
        )
    source = ForeignSource(config.source)
    name = config.from_ or recognized(source)
    family: type[ForeignFamily] = FOREIGN_FAMILIES[name]
    found = family.read(source, config)
    checkpoint = converted(found)
    config.save_dir.mkdir(parents=True, exist_ok=True)
    save_checkpoint(config.save_dir / BEST, checkpoint)
    write_toml(config.save_dir / "config.toml", checkpoint.config)
    number = sum(tensor.numel() for tensor in checkpoint.weights.values())
    sizes = " and ".join(
        f"{counted(len(tokenizer), f'{side} symbol')}" for side, tokenizer in checkpoint.tokenizers.items()
    )
    notice(f"{config.save_dir / BEST}: {family.title}, {counted(number, 'parameter')}, {sizes}")
    if found.only:
        notice(
            f"it is an {found.only} alone, so nothing can be generated with it; s2s train --init-{found.only} "
            f"{config.save_dir} begins a Transformer's {found.only} with it"
        )
    return ImportResult(checkpoint=config.save_dir / BEST, family=name, parameters=number)


def _import_adapter(config: ImportConfig) -> ImportResult:
    """Write the checkpoint of an adapter that PEFT has written; UsageError where its model is not said."""
    if config.base is None:
        raise UsageError(
            f"{config.source}: is an adapter of PEFT; give --base, the folder of transformers that it is for"
        )
    checkpoint = read_adapter(config.source, Base.read(config.base, config))
    config.save_dir.mkdir(parents=True, exist_ok=True)
    save_checkpoint(config.save_dir / BEST, checkpoint)
    number = sum(tensor.numel() for tensor in checkpoint.weights.values())
    notice(
        f"{config.save_dir / BEST}: an adapter of PEFT, {counted(number, 'parameter')}, of the model of fingerprint "
        f"{checkpoint.base}; s2s generate takes it as --adapter NAME={config.save_dir}"
    )
    return ImportResult(checkpoint=config.save_dir / BEST, family="peft", parameters=number)


def _check_folder(folder: Path) -> None:
    """UsageError where a checkpoint would be lost."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--save-dir {folder}: is a file, not a folder")
    for name in (BEST, LAST):
        if (folder / name).exists():
            raise UsageError(
                f"--save-dir {folder}: holds {name} already, which would be lost; give another folder"
            )
