"""Settings of `s2s train`: its own, and those of the model, optimizer, schedule and objective it chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from s2scli.configs.adapters import AdapterConfig
from s2scli.configs.alias import Alias, nest
from s2scli.configs.command import CommandConfig
from s2scli.configs.forgetting import ForgettingConfig
from s2scli.configs.model import ModelConfig, is_for_sources
from s2scli.configs.noise import NoiseConfig
from s2scli.configs.objectives import ObjectiveConfig, of_today
from s2scli.configs.optimizers import OptimizerConfig
from s2scli.configs.presets import PRESETS
from s2scli.configs.running import RunningConfig
from s2scli.configs.sampling import SamplingConfig
from s2scli.configs.schedules import ScheduleConfig
from s2scli.configs.sections import (
    COMPONENTS,
    SECTIONS,
    build_component,
    build_section,
    check_sections,
    classes_of_sections,
    section_defaults,
    section_flags,
    section_keys,
)
from s2scli.configs.starting import StartingConfig
from s2scli.console import notice
from s2scli.errors import UsageError
from s2scli.schema import as_dict, build, check_value, limits_of, setting, setting_types

# The headings of the help.
_PRESET = "Preset"
_FILES_AND_LOG = "Files and log"
_BATCHES = "Batches"
_UPDATES = "Updates"
_RESUMING = "Resuming"
_HARDWARE = "Hardware"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunningConfig, StartingConfig, ForgettingConfig, CommandConfig):
    """All that decides a training run; saved with it as config.toml."""

    data: Path = setting(..., "dataset folder that `s2s preprocess` made", argument=True, decides=False)
    arch: str = setting(
        "transformer_modern",
        "preset: a model and what makes it train well",
        choices=PRESETS,
        short="-a",
        panel=_PRESET,
        common=True,
        decides=False,
    )
    save_dir: Path = setting(
        Path("checkpoints"),
        "folder for checkpoints, log.jsonl and config.toml",
        panel=_FILES_AND_LOG,
        common=True,
        decides=False,
    )
    max_tokens: int | Literal["auto"] = setting(
        4096,
        "most tokens on either side of a batch, padding counted; auto: as many as fit",
        unit="tokens",
        at_least=1,
        panel=_BATCHES,
        common=True,
    )
    max_source_length: int = setting(
        0,
        "longest source, end symbol not counted: longer ones are cut, here and by generate; 0: as the dataset has them",
        unit="tokens",
        at_least=0,
        panel=_BATCHES,
    )
    batch_size: int = setting(
        0,
        "most sentence pairs in a batch, above 8 in multiples of 8; 0: no limit",
        unit="pairs",
        at_least=0,
        panel=_BATCHES,
    )
    update_freq: int | tuple[int, ...] = setting(
        1,
        "batches whose gradients make one update; or so many in each epoch, as 4,2,1, the last of which stays",
        at_least=1,
        panel=_BATCHES,
        common=True,
    )
    clip_norm: float = setting(1.0, "largest gradient norm; 0: no clipping", at_least=0, panel=_UPDATES)
    ema_decay: float = setting(
        0.0,
        "validate and keep a moving average of the weights with this decay; 0: the weights themselves",
        at_least=0,
        below=1,
        panel=_UPDATES,
    )
    restore_file: Path | None = setting(
        None,
        "go on from this checkpoint_last, or run folder, where --save-dir holds no run yet",
        panel=_RESUMING,
        decides=False,
    )
    finetune_from_model: Path | None = setting(
        None,
        "begin with the weights of this checkpoint, or run folder, where --save-dir holds no run yet",
        panel=_RESUMING,
        common=True,
        decides=False,
    )
    new_embeddings: str | None = setting(
        None,
        "draw the embeddings, and for the target the output weights, of a side anew in place of taking the rows of the "
        "symbols that --finetune-from-model has too",
        choices=("source", "target", "both"),
        needs="finetune_from_model",
        panel=_RESUMING,
        decides=False,
    )
    reset_optimizer: bool = setting(
        False, "leave the optimizer's state behind when going on", panel=_RESUMING, decides=False
    )
    reset_lr_scheduler: bool = setting(
        False, "begin the learning-rate schedule anew when going on", panel=_RESUMING, decides=False
    )
    reset_dataloader: bool = setting(
        False, "begin with epoch 1 of the data when going on", panel=_RESUMING, decides=False
    )
    reset_meters: bool = setting(
        False, "forget the best figure, and the time spent, when going on", panel=_RESUMING, decides=False
    )
    right_to_left: bool = setting(
        False,
        "learn targets from their last token to their first; generate writes them in reading order",
        panel=_UPDATES,
    )
    freeze: tuple[str, ...] = setting(
        (),
        "do not train parameters whose name matches, as in 'encoder_layers.*'; the patterns are a shell's",
        panel=_UPDATES,
    )
    log_grad_norms: bool = setting(
        False, "show the gradient's norm layer by layer with each progress line", panel=_FILES_AND_LOG
    )
    tensorboard: bool = setting(
        False,
        "write the log's figures for TensorBoard too, in the folder tensorboard of --save-dir",
        panel=_FILES_AND_LOG,
        decides=False,
    )
    wandb_project: str = setting(
        "",
        "send the log's figures to this project of Weights & Biases too; needs the extra wandb",
        panel=_FILES_AND_LOG,
        decides=False,
    )
    log_interval: int = setting(
        100, "updates between two progress lines", unit="updates", at_least=1, panel=_FILES_AND_LOG
    )
    seed: int = setting(1, "seed of all randomness", at_least=0, panel=_UPDATES, common=True)
    device: str = setting(
        "auto",
        "auto, cpu, cuda, cuda:N or mps",
        pattern="auto|cpu|cuda(:[0-9]{1,3})?|mps",
        panel=_HARDWARE,
        common=True,
    )
    precision: str = setting(
        "auto",
        "matrix products in bf16 or fp16 and all else in fp32, or everything in fp32; auto: bf16 or fp32, whichever "
        "is faster here",
        choices=("auto", "fp32", "bf16", "fp16"),
        panel=_HARDWARE,
        common=True,
    )
    matrix_products: str = setting(
        "auto",
        "library for fp32 matrix products in training on a CPU: oneDNN, or what torch itself takes, mostly MKL; auto: "
        "whichever is faster here, and what a run has begun with where it goes on",
        choices=("auto", "onednn", "torch"),
        panel=_HARDWARE,
    )
    compile: bool = setting(
        False,
        "compile the layers (not of recurrent models) with torch.compile, for a GPU; a CPU needs a C++ compiler and is "
        "slower",
        panel=_HARDWARE,
    )
    checkpoint_activations: bool = setting(
        False,
        "keep only what enters each layer (not of recurrent models) and compute the rest anew for the gradient, which "
        "stays the same: less memory, and more time",
        panel=_HARDWARE,
    )
    verify: bool = setting(
        False,
        "compare the checksums of all of the dataset's files first; their sizes are compared always",
        panel=_FILES_AND_LOG,
        decides=False,
    )
    deterministic: bool = setting(
        False, "choose kernels that give the same bits each time, on a GPU too", panel=_HARDWARE
    )
    distributed: str = setting(
        "ddp",
        "where torchrun starts several processes: each with the whole model, or with a shard of it (FSDP2)",
        choices=("ddp", "fsdp"),
        panel=_HARDWARE,
    )
    num_workers: int = setting(
        0,
        "processes that read training batches ahead; with sampled subwords or noise on a GPU, 2 to 4",
        at_least=0,
        at_most=1024,
        panel=_BATCHES,
        decides=False,
    )
    threads: int = setting(
        0,
        "CPU threads; 0: as many as torch sees fit",
        at_least=0,
        at_most=1024,
        panel=_HARDWARE,
        decides=False,
    )

    model: ModelConfig
    optimizer: OptimizerConfig
    lr_scheduler: ScheduleConfig
    objective: ObjectiveConfig
    noise: NoiseConfig
    adapter: AdapterConfig
    sampling: SamplingConfig

    def __post_init__(self) -> None:
        self.check_running()
        self.check_forgetting(self.finetune_from_model, goes_on=self.restore_file is not None)
        if self.compile and self.checkpoint_activations:
            raise UsageError(
                "--compile and --checkpoint-activations: compiled layers choose by themselves what they keep; give one "
                "of them"
            )
        self.lr_scheduler.check_beside(self.optimizer.lr, validates=not self.disable_validation)
        self.objective.check_beside(self.model, self.arch)
        self.model.check_beside(self.sampling)
        self.noise.check_beside(self.model, self.arch, self.metrics)
        if self.adapter.tunes and self.finetune_from_model is None:
            raise UsageError(
                f"--adapter {self.adapter.name}: is trained beside a model that stays as it is; give that as "
                "--finetune-from-model"
            )
        if self.adapter.tunes and self.ewc_weight:
            raise UsageError(
                f"--ewc-weight {self.ewc_weight:g}: an adapter leaves the model's weights where they are; give one of "
                "them"
            )
        if self.adapter.tunes and self.new_embeddings:
            raise UsageError(
                f"--new-embeddings {self.new_embeddings}: an adapter leaves the model's embeddings as they are; give "
                "one of them"
            )
        if not self.model.reads_source:
            self._check_without_source()

    def _check_without_source(self) -> None:
        """UsageError for settings that have no meaning where a model reads targets only."""
        for_sources = {
            "--eval-metrics": self.eval_metrics,
            f"--best-checkpoint-metric {self.best_checkpoint_metric}": self.best_checkpoint_metric
            not in ("loss", "ppl"),
            f"--max-source-length {self.max_source_length}": self.max_source_length,
            f"--subword-sampling {self.sampling.subword_sampling}": "source" in self.sampling.subword_sides,
            "--word-dropout, --word-mask or --word-shuffle": self.sampling.has_noise,
        }
        for flag, given in for_sources.items():
            if given:
                raise UsageError(f"{flag}: {is_for_sources(self.arch)}")

    @classmethod
    def aliases(cls) -> Mapping[str, Alias]:
        """The flags of all components' settings."""
        return section_flags()

    @classmethod
    def section_keys(cls) -> Mapping[str, frozenset[str]]:
        """The keys of each section, of all its components together."""
        return section_keys()

    @classmethod
    def sections(cls) -> Mapping[str, Mapping[str, type[Any]]]:
        """The settings dataclasses that each section may be of, by the name of the component."""
        return classes_of_sections()

    @classmethod
    def section_defaults(
        cls, file: Mapping[str, Any], given: Mapping[str, Any], names: Mapping[str, str]
    ) -> Mapping[str, Mapping[str, Any]]:
        """The component that each section chooses, by --arch or by itself, and the defaults of its settings."""
        flags = nest(given)
        for layer, origin in ((file, "config file"), (flags, "--set")):
            check_sections(layer, setting_types(cls), origin)
        return section_defaults(PRESETS[_arch_of({**file, **flags}, names)], (file, flags), names)

    @classmethod
    def architectures(cls) -> Mapping[str, Sequence[str]]:
        """The presets of each family of models."""
        families: dict[str, list[str]] = {family: [] for family in COMPONENTS["model"]}
        for arch, preset in PRESETS.items():
            families[preset["model"]["name"]].append(arch)
        return families

    @classmethod
    def resolve(
        cls, file: Mapping[str, Any], given: Mapping[str, Any], names: Mapping[str, str] | None = None
    ) -> TrainConfig:
        """Merge defaults < preset < file < given into a checked config.

        file: a TOML file's content. given: dotted keys from the command line, "model.dropout" → value.
        names: key → what the user typed for it, for messages. Raises UsageError.
        """
        names = names or {}
        file, flags = map(_of_today, (file, nest(given)))
        for layer, origin in ((file, "config file"), (flags, "--set")):
            check_sections(layer, setting_types(cls), origin)
        arch = _arch_of({**file, **flags}, names)
        # What is written by hand does not name the model beside the preset, and says what it means for any.
        if file.get("arch", arch) != arch and "name" in file.get("model", {}):
            file = _beyond_preset(file, _arch_of(file, {}), names)
        components = {
            section: build_component(
                section,
                [PRESETS[arch].get(section, {}), file.get(section, {}), flags.get(section, {})],
                names,
            )
            for section in COMPONENTS
        }
        _check_family(arch, components["model"].name, names)
        sections = {
            section: build_section(section, kind, {**file.get(section, {}), **flags.get(section, {})}, names)
            for section, kind in SECTIONS.items()
        }
        config = build(cls, {**file, **flags, **components, **sections}, names=names)
        return replace(config, lr_scheduler=config.lr_scheduler.settled(config.max_update))


def _of_today(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings as they are called today; those of older runs may have other names."""
    objective = layer.get("objective")
    return {**layer, "objective": of_today(objective)} if isinstance(objective, Mapping) else layer


def _arch_of(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The preset that settings begin with; UsageError where there is none of that name."""
    field = next(field for field in fields(TrainConfig) if field.name == "arch")
    value = values.get("arch", field.default)
    arch: str = check_value(str, limits_of(field), value, names.get("arch", "arch"))
    return arch


def _beyond_preset(file: Mapping[str, Any], arch: str, names: Mapping[str, str]) -> dict[str, Any]:
    """A file's settings without those that its own preset `arch` gives, so that another can take its place.

    A run's config.toml holds every setting: those of its preset would leave nothing of the other.
    """
    preset, kept, stay = PRESETS[arch], dict(file), []
    for section in (name for name in COMPONENTS if name in file):
        chosen = {key: value for key, value in file[section].items() if key == "name"}
        own = as_dict(build_component(section, [preset[section], chosen], names)) | {
            "name": preset[section]["name"]
        }
        kept[section] = {key: value for key, value in file[section].items() if own.get(key) != value}
        stay += [f"{section}.{key}" for key in kept[section]]
    notice(
        f"{names.get('arch', 'arch')} in place of the file's {arch}: of the file's model, optimizer, schedule and "
        f"objective only what {arch} does not give by itself stays: {', '.join(stay) or 'nothing'}"
    )
    return kept


def _check_family(arch: str, family: str, names: Mapping[str, str]) -> None:
    """UsageError where what the user gave as the model is of another family than the preset."""
    own = PRESETS[arch]["model"]["name"]
    if family == own or not names.keys() & {"arch", "model.name"}:
        return
    others = [name for name, preset in PRESETS.items() if preset["model"]["name"] == family]
    raise UsageError(
        f"{names.get('model.name', 'model.name')} = {family!r}: {names.get('arch', '--arch')} {arch} is of the family "
        f"{own!r}; leave one out, or choose a preset of that family: {', '.join(others)}"
    )
