"""PEFT's files of an adapter, which its PeftModel.from_pretrained puts beside a folder of transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from s2scli.checkpoint import load_checkpoint, restore_config, restore_model
from s2scli.configs.adapters import LowRankConfig
from s2scli.configs.export import ExportConfig
from s2scli.configs.importing import ImportConfig
from s2scli.console import notice
from s2scli.errors import CheckpointError, UsageError
from s2scli.exporting.target import ExportTarget, ModelToExport
from s2scli.exporting.transformers import WRITTEN_BY, write_json
from s2scli.files import name_in_utf8
from s2scli.foreign.peft import CONFIG, WEIGHTS, Base, written_adapter
from s2scli.inference.lines import Line
from s2scli.io import write_atomically


@dataclass(frozen=True, kw_only=True)
class AdapterToExport(ModelToExport):
    """An adapter's checkpoint, with the model that it is for."""

    base: Base


class Peft(ExportTarget):
    """PEFT: an adapter beside the folder of transformers that its model was imported from."""

    @classmethod
    def load(cls, path: Path, config: ExportConfig) -> AdapterToExport:
        """Read an adapter's checkpoint and its model; CheckpointError for a whole model, and for another's adapter."""
        if config.base is None:
            raise UsageError(
                "--to peft: needs --base, the folder of transformers that the adapter's model is from"
            )
        adapter = load_checkpoint(path, may_be_adapter=True)
        if not adapter.base:
            raise CheckpointError(
                f"{path}: holds a whole model; --to peft writes what s2s train --adapter has made"
            )
        if restore_config(adapter).adapter.name != "lora":
            raise UsageError(
                f"{path}: is of bottlenecks, which PEFT has not; --to peft writes --adapter lora"
            )
        source, target = (str(adapter.dataset.get(name, "")) for name in ("source_lang", "target_lang"))
        wanted = ImportConfig(source=config.base, save_dir=config.out, source_lang=source, target_lang=target)
        base = Base.read(config.base, wanted)
        return AdapterToExport(
            path=path,
            checkpoint=replace(adapter, tokenizers=base.checkpoint.tokenizers),
            model=restore_model(base.checkpoint, config.base),
            config=restore_config(base.checkpoint).model,
            base=base,
        )

    @classmethod
    def write(cls, source: ModelToExport, folder: Path, config: ExportConfig) -> None:
        """Write adapter_config.json and adapter_model.safetensors."""
        if config.quantization != "float32":
            raise UsageError(f"--quantization {config.quantization}: PEFT's files have float32; leave it out")
        own = cast(AdapterToExport, source)
        adapter = cast(LowRankConfig, restore_config(own.checkpoint).adapter)
        settings, tensors = written_adapter(own.checkpoint, own.path, adapter, own.base)
        with write_atomically(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary, {"format": "pt", **WRITTEN_BY})
        write_json(folder / CONFIG, settings)

    @classmethod
    def has_written(cls, folder: Path) -> bool:
        """Whether the weights' file says so."""
        try:
            with name_in_utf8(folder / WEIGHTS) as name, safe_open(name, framework="numpy") as stream:
                metadata = stream.metadata() or {}
        except (OSError, SafetensorError):
            return False
        return all(metadata.get(key) == value for key, value in WRITTEN_BY.items())

    @classmethod
    def texts(
        cls, source: ModelToExport, folder: Path, lines: Sequence[Line], done: Callable[[int], object]
    ) -> None:
        """Nothing, and a line that says so: PEFT is none of what is installed with s2s."""
        del source, lines, done
        notice(f"{folder}: not compared; PeftModel.from_pretrained reads it beside the folder of --base")
