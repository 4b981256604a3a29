"""A folder that `from_pretrained` of transformers reads: settings, weights, and a tokenizer where it can have one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file

from s2scli import document
from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.export import ExportConfig
from s2scli.configs.search import SearchConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.console import notice
from s2scli.errors import CheckpointError, S2SError, UsageError
from s2scli.exporting.library_tokenizer import first_symbol_of, library_order
from s2scli.exporting.target import ExportTarget, ModelToExport
from s2scli.exporting.transformers_outputs import translated
from s2scli.exporting.transformers_tokenizers import write_tokenizers
from s2scli.foreign.rows import SIDES
from s2scli.foreign.source import CONFIG
from s2scli.foreign.vocabularies import OrderedVocabulary
from s2scli.foreign.writing import ModelToWrite, WritableFamily, lacking
from s2scli.inference.lines import Line
from s2scli.io import write_atomically
from s2scli.models.transformer import TransformerModel
from s2scli.record import to_json_text
from s2scli.schema import spelled

# The families that models are written as, in the order in which they are asked.
_FAMILIES = ("marian", "bart", "mbart", "m2m_100", "pegasus", "t5")
_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# The entry of config.json that says who has written it.
_WRITTEN_BY = {"written_by": "s2s export"}


class Transformers(ExportTarget):
    """transformers: the folder is loaded by its AutoModelForSeq2SeqLM and AutoTokenizer."""

    @classmethod
    def write(cls, source: ModelToExport, folder: Path, config: ExportConfig) -> None:
        """Write config.json, generation_config.json, model.safetensors and the files of the tokenizer."""
        _check(source, config)
        name = _family(source)
        family: type[WritableFamily] = FOREIGN_FAMILIES[name]
        model = _model(source, config)
        try:
            settings, weights = family.written(model)
        except UsageError as error:
            raise UsageError(f"{source.path}: cannot be a {name} of transformers: {error}") from None
        type_ = _TYPES[config.quantization]
        settings = {
            "architectures": [family.architecture],
            "model_type": name,
            "dtype": config.quantization,
            **settings,
            **_WRITTEN_BY,
        }
        with write_atomically(folder / "model.safetensors") as temporary:
            save_file({key: item.to(type_) for key, item in weights.items()}, temporary, {"format": "pt"})
        _write_json(folder / CONFIG, settings)
        _write_json(folder / "generation_config.json", _generation(source, model, settings))
        longest = max(map(len, model.positions.values()), default=0)
        if missing := write_tokenizers(source, folder, name, longest):
            notice(
                f"{config.out}: the model is without a tokenizer, as transformers has none like it: {missing}"
            )

    @classmethod
    def has_written(cls, folder: Path) -> bool:
        """Whether config.json says so."""
        try:
            with document.blaming(folder / CONFIG, "", CheckpointError):
                values = document.read(folder / CONFIG, Mapping[str, Any])
        except (S2SError, OSError):
            return False
        return all(values.get(key) == value for key, value in _WRITTEN_BY.items())

    @classmethod
    def texts(
        cls, source: ModelToExport, folder: Path, lines: Sequence[Line], done: Callable[[int], object]
    ) -> list[str] | None:
        """What transformers makes of the lines; None, and a line that says so, where it is not installed."""
        try:
            return translated(source, folder, _orders(source), lines, done)
        except ModuleNotFoundError as error:
            if error.name != "transformers":
                raise
            notice(f"{folder}: not compared, as transformers is not installed: pip install 's2scli[interop]'")
            return None


def _check(source: ModelToExport, config: ExportConfig) -> None:
    """UsageError, with the setting, for what no folder of transformers has."""
    if source.config.name != "transformer":
        raise UsageError(
            f"{source.path}: --arch {source.checkpoint.config['arch']} is of the family {source.config.name}; for "
            "transformers only those of the family transformer can be written"
        )
    if config.quantization not in _TYPES:
        raise UsageError(
            f"--quantization {config.quantization}: a folder of transformers has weights of one type; choose "
            f"{', '.join(_TYPES)}"
        )
    if config.shortlist:
        raise UsageError(f"--shortlist {config.shortlist}: transformers has no shortlists; leave it out")
    if source.checkpoint.config.get("right_to_left"):
        raise UsageError(
            f"{source.path}: right_to_left = true: transformers would show outputs the wrong way round"
        )


def _family(source: ModelToExport) -> str:
    """The first family that has all settings of a model; UsageError with the one that none has, or the nearest."""
    config = cast(TransformerConfig, source.config)
    lacks = {name: lacking(FOREIGN_FAMILIES[name], config) for name in _FAMILIES}
    if found := next((name for name, missing in lacks.items() if not missing), None):
        return found
    nearest = min(lacks, key=lambda name: len(lacks[name]))
    everywhere = [name for name in lacks[nearest] if all(name in missing for missing in lacks.values())]
    setting = next(iter([*everywhere, *lacks[nearest]]))
    value = f"{source.path}: model.{setting} = {spelled(getattr(config, setting))}"
    if everywhere:
        raise UsageError(f"{value}: none of the families of transformers has it that s2s export writes")
    raise UsageError(
        f"{value}: no family of transformers has it with the other settings; the nearest, {nearest}, has "
        f"{' or '.join(map(spelled, lacks[nearest][setting]))}"
    )


def _orders(source: ModelToExport) -> dict[str, OrderedVocabulary]:
    """The vocabulary of each side with the ids of the folder: those of a tokenizer's own file, or ours."""
    return {
        side: OrderedVocabulary(
            tokenizer.vocabulary, library_order(tokenizer) or tuple(range(len(tokenizer.vocabulary)))
        )
        for side, tokenizer in source.checkpoint.tokenizers.items()
    }


def _model(source: ModelToExport, config: ExportConfig) -> ModelToWrite:
    own = cast(TransformerModel, source.model)
    positions = source.positions(config.max_positions)
    # transformers has one number for both sides, that both have learned, or that either needs.
    number = max(positions.values(), default=0)
    embedders = {side: getattr(own, f"{side}_embedder") for side in SIDES if number}
    return ModelToWrite(
        config=cast(TransformerConfig, source.config),
        weights=source.checkpoint.weights,
        orders=_orders(source),
        first=first_symbol_of(source.checkpoint.tokenizers["target"]),
        positions={side: embedder.positions(0, number) for side, embedder in embedders.items()},
    )


def _generation(source: ModelToExport, model: ModelToWrite, settings: Mapping[str, Any]) -> dict[str, Any]:
    """How outputs are searched for, as far as it can be said there: as `s2s generate` does by default.

    Special symbols that no output of ours holds are suppressed; all outputs begin with the first symbol.
    """
    target = model.orders["target"]
    search = SearchConfig()
    longest = max(map(len, model.positions.values()), default=search.max_len_b + 1)
    names = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id", "forced_eos_token_id")
    return {
        **{name: settings[name] for name in names},
        **({} if model.first is None else {"forced_bos_token_id": target.order[model.first]}),
        **({} if settings.get("use_cache", True) else {"use_cache": False}),
        "suppress_tokens": [target.order[number] for number in source.model.symbols.never_predicted],
        "min_new_tokens": search.min_len,
        "max_new_tokens": min(search.max_len_b + 1, longest),
        "num_beams": search.beam,
        "early_stopping": True,
        "length_penalty": search.lenpen,
    }


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(f"{to_json_text(values, indent=2)}\n", encoding="utf-8")
