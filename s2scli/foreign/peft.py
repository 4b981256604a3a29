"""PEFT's files of an adapter by low-rank matrices: adapter_config.json and adapter_model.safetensors, in and out.

They are beside a folder of transformers, by whose names its tensors go: of `…q_proj.weight` they are
`base_model.model.…q_proj.lora_A.weight` [r, K] and `….lora_B.weight` [N, r].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from s2scli.checkpoint import Checkpoint, check_base, fingerprint_of, first_not_finite, restore_model
from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.adapters import LowRankConfig
from s2scli.configs.importing import ImportConfig
from s2scli.configs.train import TrainConfig
from s2scli.errors import CheckpointError, UsageError, did_you_mean
from s2scli.foreign.base import ForeignFamily
from s2scli.foreign.conversion import converted, recognized
from s2scli.foreign.formats.tensors import read_safetensors
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import Same, Stacked, WeightTable
from s2scli.models.adapters import Rows, weights_of
from s2scli.schema import as_dict

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_BEFORE, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
# What else PEFT's adapters may have, and none of ours does; each with the values that say that it is not there.
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "modules_to_save": (None, []),
    "bias": (None, "none"),
    "lora_bias": (None, False),
    "fan_in_fan_out": (None, False),
    "use_qalora": (None, False),
    "alora_invocation_tokens": (None,),
    # Others take what they begin with out of the model's own weights.
    "init_lora_weights": (None, True, False, "gaussian", "eva", "orthogonal"),
}


@dataclass(frozen=True)
class Base:
    """A model of a folder of transformers, as `s2s import` makes it.

    names: by the name of each weight that may have matrices beside it, see `weights_of`, their name for it.
    """

    path: Path
    checkpoint: Checkpoint
    rows: Mapping[str, Rows]
    names: Mapping[str, str]

    @classmethod
    def read(cls, path: Path, wanted: ImportConfig) -> Base:
        """Read the folder; CheckpointError where it is no model of ours, or of a family without such weights."""
        source = ForeignSource(path)
        family: type[ForeignFamily] = FOREIGN_FAMILIES[recognized(source)]
        found = family.read(source, replace(wanted, source=path))
        checkpoint = converted(found)
        rows = weights_of(restore_model(checkpoint, path))
        names = _names(found.table, rows)
        if not names:
            raise CheckpointError(
                f"{path}: is a {family.title}, for which PEFT's adapters are not read or written"
            )
        return cls(path, checkpoint, rows, names)


def _names(table: WeightTable, rows: Mapping[str, Rows]) -> dict[str, str]:
    """Their name of each weight, without its ending, where it is laid out as ours."""
    of_layer: dict[str, list[str]] = {}
    for name, part in rows.items():
        of_layer.setdefault(name.rpartition(".")[0] if part.layer.named_rows else name, []).append(name)
    found: dict[str, str] = {}
    for row in table:
        own = of_layer.get(row.ours.removesuffix(".weight"), [])
        if isinstance(row.layout, Same | Stacked) and len(own) == len(row.theirs):
            theirs = (name.removesuffix(".weight") for name in row.theirs)
            found |= zip(own, theirs, strict=True)
    return found


def read_adapter(folder: Path, base: Base) -> Checkpoint:
    """The checkpoint of an adapter that PEFT has written beside a model.

    Raises CheckpointError, with the field or tensor, for what is broken or none of ours can be, as DoRA.
    """
    source = ForeignSource(folder)
    settings = ForeignSettings(source.json(CONFIG), folder / CONFIG)
    settings.only(peft_type="LORA")
    for option, without in _UNSUPPORTED.items():
        if settings.values.get(option) not in without:
            settings.refuse(option, "none")
    rank, path = settings.whole("r"), folder / WEIGHTS
    if source.file(WEIGHTS) is None:
        raise CheckpointError(f"{folder}: has no {WEIGHTS}, which PEFT writes")
    tensors = read_safetensors(path)
    ours = {theirs: name for name, theirs in base.names.items()}
    weights: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        ending = next((item for item in (_A, _B) if key.endswith(item)), "")
        name = ours.get(key.removeprefix(_BEFORE).removesuffix(ending)) if ending else None
        if name is None:
            known = [f"{_BEFORE}{theirs}{ending or _A}" for theirs in ours]
            raise CheckpointError(
                f"{path}: holds {key}, which the model of {base.path} has no weight for{did_you_mean(key, known)[:200]}"
            )
        rows = base.rows[name]
        wanted = (rank, rows.layer.in_features) if ending == _A else (rows.size, rank)
        if tuple(tensor.shape) != wanted:
            raise CheckpointError(f"{path}: {key} has shape {tuple(tensor.shape)}; wanted: {wanted}")
        weights[f"adapter.{name}.{'a' if ending == _A else 'b'}"] = tensor.float()
    _check(weights, path)
    names = tuple(name for name in base.names if f"adapter.{name}.a" in weights)
    adapter = {
        "name": "lora",
        "rank": rank,
        "alpha": settings.number("lora_alpha"),
        "rslora": settings.flag("use_rslora", False),
        "adapter_dropout": settings.probability("lora_dropout"),
        "layers": list(names),
    }
    values = {**base.checkpoint.config, "adapter": adapter, "finetune_from_model": str(base.path)}
    try:
        config = as_dict(TrainConfig.resolve(values, {}))
    except UsageError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None
    return replace(
        base.checkpoint,
        config=config,
        weights=weights,
        shortlist=None,
        base=fingerprint_of(base.checkpoint.weights),
    )


def _check(weights: Mapping[str, Tensor], path: Path) -> None:
    """CheckpointError where there are no matrices, one of two is missing, or one is not finite."""
    if not weights:
        raise CheckpointError(f"{path}: holds no matrices of LoRA")
    for name in weights:
        other = f"{name[:-1]}{'b' if name.endswith('a') else 'a'}"
        if other not in weights:
            raise CheckpointError(f"{path}: has only one of the two matrices of {name[len('adapter.') : -2]}")
    if name := first_not_finite(weights) or "":
        raise CheckpointError(f"{path}: {name} holds NaN or an infinity, so nothing can be done with it")


def written_adapter(
    adapter: Checkpoint, path: Path, config: LowRankConfig, base: Base
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings for adapter_config.json and the tensors by name of an adapter of ours; path: its checkpoint's.

    Raises CheckpointError where it is of another model.
    """
    check_base(adapter, path, fingerprint_of(base.checkpoint.weights), str(base.path))
    tensors: dict[str, Tensor] = {}
    for key, tensor in adapter.weights.items():
        name, _, matrix = key.removeprefix("adapter.").rpartition(".")
        theirs = base.names.get(name)
        if theirs is None:
            raise CheckpointError(
                f"{path}: {name} is no weight of its own in {base.path}, and PEFT has none such"
            )
        tensors[f"{_BEFORE}{theirs}{_A if matrix == 'a' else _B}"] = tensor.detach().float().cpu().clone()
    modules = sorted({key.removeprefix(_BEFORE).removesuffix(_A) for key in tensors if key.endswith(_A)})
    settings = {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM",
        "base_model_name_or_path": str(base.path),
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.adapter_dropout,
        "use_rslora": config.rslora,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
    }
    return settings, tensors
