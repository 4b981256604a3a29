"""A folder that `from_pretrained` of transformers reads: settings, weights, and a tokenizer where it can have one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

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
# The file that says how outputs are searched for.
GENERATION = "generation_config.json"
# The entry of config.json that says who has written it.
WRITTEN_BY = {"written_by": "s2s export"}


class Transformers(ExportTarget):
    """transformers: the folder is loaded by its AutoModelForSeq2SeqLM and AutoTokenizer."""

    @classmethod
    def write(cls, source: ModelToExport, folder: Path, config: ExportConfig) -> None:
        """Write config.json, generation_config.json, model.safetensors and the files of the tokenizer."""
        _check(config)
        form = TransformersForm.of(source, config)
        type_ = _TYPES[config.quantization]
        with write_atomically(folder / "model.safetensors") as temporary:
            save_file(
                {key: item.to(type_) for key, item in form.weights.items()}, temporary, {"format": "pt"}
            )
        if missing := form.write(source, folder):
            notice(
                f"{config.out}: the model is without a tokenizer, as transformers has none like it: {missing}"
            )

    @classmethod
    def has_written(cls, folder: Path) -> bool:
        """Whether config.json says so."""
        return says_written(folder)

    @classmethod
    def texts(
        cls, source: ModelToExport, folder: Path, lines: Sequence[Line], done: Callable[[int], object]
    ) -> list[str] | None:
        """What transformers makes of the lines; None, and a line that says so, where it is not installed."""
        try:
            return translated(source, folder, orders_of(source), lines, done)
        except ModuleNotFoundError as error:
            if error.name != "transformers":
                raise
            notice(f"{folder}: not compared, as transformers is not installed: pip install 's2scli[interop]'")
            return None


def _check(config: ExportConfig) -> None:
    """UsageError for what is asked for and no folder of transformers has."""
    if config.quantization not in _TYPES:
        raise UsageError(
            f"--quantization {config.quantization}: a folder of transformers has weights of one type; choose "
            f"{', '.join(_TYPES)}"
        )
    if config.shortlist:
        raise UsageError(f"--shortlist {config.shortlist}: transformers has no shortlists; leave it out")


@dataclass(frozen=True, kw_only=True)
class TransformersForm:
    """What a model is to transformers: one of a family, with settings for config.json, and weights, by their names."""

    family: str
    model: ModelToWrite
    settings: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    @classmethod
    def of(cls, source: ModelToExport, config: ExportConfig) -> TransformersForm:
        """The form of a model; UsageError, with the setting, for one that no family of transformers has."""
        _check_model(source)
        name = _family(source)
        family: type[WritableFamily] = FOREIGN_FAMILIES[name]
        model = _model(source, config)
        try:
            settings, weights = family.written(model)
        except UsageError as error:
            raise UsageError(f"{source.path}: cannot be a {name} of transformers: {error}") from None
        settings = {
            "architectures": [family.architecture],
            "model_type": name,
            "dtype": config.quantization,
            **settings,
            **WRITTEN_BY,
        }
        return cls(family=name, model=model, settings=settings, weights=weights)

    def write(self, source: ModelToExport, folder: Path) -> str:
        """Write all but the weights into a folder, and give nothing; or, without a tokenizer, the reason for that."""
        longest = max(map(len, self.model.positions.values()), default=None)
        write_json(folder / CONFIG, self.settings)
        write_json(folder / GENERATION, generation_settings(source, self.settings, longest))
        return write_tokenizers(source, folder, self.family, longest or 0)


def _check_model(source: ModelToExport) -> None:
    """UsageError, with the setting, for a model that no folder of transformers has."""
    if source.config.name != "transformer":
        raise UsageError(
            f"{source.path}: --arch {source.checkpoint.config['arch']} is of the family {source.config.name}; for "
            "transformers only those of the family transformer can be written"
        )
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


def orders_of(source: ModelToExport) -> dict[str, OrderedVocabulary]:
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
        orders=orders_of(source),
        first=first_symbol_of(source.checkpoint.tokenizers["target"]),
        positions={side: embedder.positions(0, number) for side, embedder in embedders.items()},
    )


def generation_settings(
    source: ModelToExport, settings: Mapping[str, Any], longest: int | None
) -> dict[str, Any]:
    """How outputs are searched for, as far as it can be said there: as `s2s generate` does by default.

    Special symbols that no output of ours holds are suppressed; all outputs begin with the first symbol. settings: of
    config.json; longest: the most positions of an output, None for any number.
    """
    target = orders_of(source)["target"]
    first = first_symbol_of(source.checkpoint.tokenizers["target"])
    search = SearchConfig()
    most = search.max_len_b + 1
    names = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id", "forced_eos_token_id")
    return {
        **{name: settings[name] for name in names},
        **({} if first is None else {"forced_bos_token_id": target.order[first]}),
        **({} if settings.get("use_cache", True) else {"use_cache": False}),
        "suppress_tokens": [target.order[number] for number in source.model.symbols.never_predicted],
        "min_new_tokens": search.min_len,
        "max_new_tokens": most if longest is None else min(most, longest),
        "num_beams": search.beam,
        "early_stopping": True,
        "length_penalty": search.lenpen,
    }


def says_written(folder: Path) -> bool:
    """Whether the config.json in a folder says that `s2s export` has written it."""
    try:
        with document.blaming(folder / CONFIG, "", CheckpointError):
            values = document.read(folder / CONFIG, Mapping[str, Any])
    except (S2SError, OSError):
        return False
    return all(values.get(key) == value for key, value in WRITTEN_BY.items())


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as a file of JSON."""
    with write_atomically(path) as temporary:
        temporary.write_text(f"{to_json_text(values, indent=2)}\n", encoding="utf-8")
