"""Settings of `s2s train`: its own, and those of the model, optimizer, schedule and objective it chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from s2scli.configs.alias import Alias, nest
from s2scli.configs.convolutional import ConvolutionalConfig
from s2scli.configs.models import ModelConfig, RecurrentConfig, TransformerConfig, TransformerLMConfig
from s2scli.configs.presets import PRESETS
from s2scli.configs.running import RunningConfig
from s2scli.configs.sampling import SamplingConfig
from s2scli.configs.schedules import (
    CosineConfig,
    ExponentialConfig,
    FixedConfig,
    InverseSqrtConfig,
    LinearConfig,
    PolynomialDecayConfig,
    ReduceOnPlateauConfig,
    ScheduleConfig,
    StepConfig,
    TriStageConfig,
)
from s2scli.configs.starting import StartingConfig
from s2scli.configs.training import (
    AdadeltaConfig,
    AdafactorConfig,
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    DistillationConfig,
    LabelSmoothedCrossEntropyConfig,
    LionConfig,
    MinimumRiskConfig,
    ObjectiveConfig,
    OptimizerConfig,
    RDropConfig,
    RMSpropConfig,
    SGDConfig,
)
from s2scli.console import notice
from s2scli.errors import UsageError, did_you_mean
from s2scli.schema import Limits, as_dict, build, check_value, limits_of, setting, setting_types, spelled

COMPONENTS: dict[str, dict[str, type[Any]]] = {
    "model": {
        "recurrent": RecurrentConfig,
        "transformer": TransformerConfig,
        "transformer_lm": TransformerLMConfig,
        "convolutional": ConvolutionalConfig,
    },
    "optimizer": {
        "adam": AdamConfig,
        "adamw": AdamWConfig,
        "rmsprop": RMSpropConfig,
        "sgd": SGDConfig,
        "adagrad": AdagradConfig,
        "adadelta": AdadeltaConfig,
        "adafactor": AdafactorConfig,
        "lion": LionConfig,
    },
    "lr_scheduler": {
        "fixed": FixedConfig,
        "inverse_sqrt": InverseSqrtConfig,
        "reduce_on_plateau": ReduceOnPlateauConfig,
        "step": StepConfig,
        "exponential": ExponentialConfig,
        "linear": LinearConfig,
        "polynomial_decay": PolynomialDecayConfig,
        "cosine": CosineConfig,
        "tri_stage": TriStageConfig,
    },
    "objective": {
        "label_smoothed_cross_entropy": LabelSmoothedCrossEntropyConfig,
        "r_drop": RDropConfig,
        "distillation": DistillationConfig,
        "minimum_risk": MinimumRiskConfig,
    },
}

# Sections of one kind, of which nothing is chosen by name.
SECTIONS: dict[str, type[Any]] = {"sampling": SamplingConfig}

# fairseq's flags whose name is not the key's own.
_FAIRSEQ_NAMES = {
    "optimizer.name": "--optimizer",
    "optimizer.betas": "--adam-betas",
    "optimizer.eps": "--adam-eps",
    "optimizer.rho": "--adadelta-rho",
    "lr_scheduler.name": "--lr-scheduler",
    "lr_scheduler.total_updates": "--total-num-update",
    "lr_scheduler.hold_updates": "--hold-steps",
    "lr_scheduler.decay_updates": "--decay-steps",
    "objective.name": "--criterion",
}

_METAVARS = {
    int: "INTEGER",
    int | None: "INTEGER",
    float: "NUMBER",
    float | None: "NUMBER",
    float | tuple[float, ...]: "NUMBER,...",
    tuple[float, float]: "NUMBER,NUMBER",
    Path: "PATH",
}


def _aliases() -> dict[str, Alias]:
    """A flag for every component setting: --encoder-layers for model.encoder_layers, and so on."""
    found: dict[str, Alias] = {}
    sections = COMPONENTS | {name: {name: cls} for name, cls in SECTIONS.items()}
    for section, classes in sections.items():
        for name in dict.fromkeys(field.name for cls in classes.values() for field in fields(cls)):
            key = f"{section}.{name}"
            flag = _FAIRSEQ_NAMES.get(key, "--" + name.replace("_", "-"))
            if key == "model.name" or flag in found:
                continue
            kinds = [types[name] for types in map(setting_types, classes.values()) if name in types]
            metavars = {_METAVARS.get(kind, "TEXT") for kind in kinds}
            found[flag] = Alias(
                key=key,
                help=_help_of(name, classes),
                is_flag=kinds[0] in (bool, bool | None),
                panel=section,
                metavar=metavars.pop() if len(metavars) == 1 else "TEXT",
                choices=_choices_of(name, classes),
            )
    return found


def _choices_of(name: str, classes: Mapping[str, type[Any]]) -> tuple[str, ...]:
    """The values that a setting has in any of the components; of `name` the components."""
    if name == "name":
        return tuple(classes)
    limits = (limits_of(field) for cls in classes.values() for field in fields(cls) if field.name == name)
    return tuple(dict.fromkeys(choice for item in limits for choice in item.choices))


def _help_of(name: str, classes: Mapping[str, type[Any]]) -> str:
    """What a setting is, in each of the components that have it; unless it is the same in all."""
    if name == "name":
        first = next(field for field in fields(next(iter(classes.values()))) if field.name == name)
        return f"{limits_of(first).help} [{'|'.join(classes)}]"
    owners: dict[str, list[str]] = {}
    for component, cls in classes.items():
        for limits in (limits_of(field) for field in fields(cls) if field.name == name):
            text = f"{limits.help} [{'|'.join(limits.choices)}]" if limits.choices else limits.help
            owners.setdefault(text, []).append(component)
    if [*owners.values()] == [[*classes]]:
        return next(iter(owners))
    return "; ".join(f"{text} ({', '.join(components)})" for text, components in owners.items())


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunningConfig, StartingConfig):
    """All that decides a training run; saved with it as config.toml."""

    data: Path = setting(..., "dataset folder that `s2s preprocess` made", argument=True)
    arch: str = setting(
        "transformer_tiny", "preset: a model and what makes it train well", choices=tuple(PRESETS), short="-a"
    )
    save_dir: Path = setting(Path("checkpoints"), "folder for checkpoints, log.jsonl and config.toml")
    max_tokens: int | Literal["auto"] = setting(
        4096,
        "most tokens on either side of a batch, padding counted; auto: as many as fit",
        unit="tokens",
        at_least=1,
    )
    max_source_length: int = setting(
        0,
        "longest source, end symbol not counted: longer ones are cut, here and by generate; 0: as the dataset has them",
        unit="tokens",
        at_least=0,
    )
    batch_size: int = setting(0, "most sentence pairs in a batch; 0: no limit", unit="pairs", at_least=0)
    update_freq: int | tuple[int, ...] = setting(
        1,
        "batches whose gradients make one update; or so many in each epoch, as 4,2,1, the last of which stays",
        at_least=1,
    )
    clip_norm: float = setting(1.0, "largest gradient norm; 0: no clipping", at_least=0)
    ema_decay: float = setting(
        0.0,
        "validate and keep a moving average of the weights with this decay; 0: the weights themselves",
        at_least=0,
        below=1,
    )
    restore_file: Path | None = setting(
        None, "go on from this checkpoint_last, or run folder, where --save-dir holds no run yet"
    )
    finetune_from_model: Path | None = setting(
        None, "begin with the weights of this checkpoint, or run folder, where --save-dir holds no run yet"
    )
    reset_optimizer: bool = setting(False, "leave the optimizer's state behind when going on")
    reset_lr_scheduler: bool = setting(False, "begin the learning-rate schedule anew when going on")
    reset_dataloader: bool = setting(False, "begin with epoch 1 of the data when going on")
    reset_meters: bool = setting(False, "forget the best figure, and the time spent, when going on")
    right_to_left: bool = setting(
        False, "learn targets from their last token to their first; generate writes them in reading order"
    )
    freeze: tuple[str, ...] = setting(
        (), "do not train parameters whose name matches, as in 'encoder_layers.*'; the patterns are a shell's"
    )
    log_grad_norms: bool = setting(False, "show the gradient's norm layer by layer with each progress line")
    tensorboard: bool = setting(
        False, "write the log's figures for TensorBoard too, in the folder tensorboard of --save-dir"
    )
    wandb_project: str = setting(
        "", "send the log's figures to this project of Weights & Biases too; needs the extra wandb"
    )
    log_interval: int = setting(100, "updates between two progress lines", unit="updates", at_least=1)
    seed: int = setting(1, "seed of all randomness", at_least=0)
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps", pattern="auto|cpu|cuda(:[0-9]{1,3})?|mps")
    precision: str = setting(
        "auto",
        "matrix products in bf16 or fp16 and all else in fp32, or everything in fp32; auto: bf16 or fp32, whichever "
        "is faster here",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: bool = setting(
        False,
        "compile the layers (not of recurrent models) with torch.compile, for a GPU; a CPU needs a C++ compiler and is "
        "slower",
    )
    checkpoint_activations: bool = setting(
        False,
        "keep only what enters each layer (not of recurrent models) and compute the rest anew for the gradient, which "
        "stays the same: less memory, and more time",
    )
    verify: bool = setting(
        False, "compare the checksums of all of the dataset's files first; their sizes are compared always"
    )
    deterministic: bool = setting(False, "choose kernels that give the same bits each time, on a GPU too")
    distributed: str = setting(
        "ddp",
        "where torchrun starts several processes: each with the whole model, or with a shard of it (FSDP2)",
        choices=("ddp", "fsdp"),
    )
    num_workers: int = setting(
        0,
        "processes that read training batches ahead; with sampled subwords or noise on a GPU, 2 to 4",
        at_least=0,
        at_most=1024,
    )
    threads: int = setting(0, "CPU threads; 0: as many as torch sees fit", at_least=0, at_most=1024)

    model: ModelConfig
    optimizer: OptimizerConfig
    lr_scheduler: ScheduleConfig
    objective: ObjectiveConfig
    sampling: SamplingConfig

    ALIASES: ClassVar[Mapping[str, Alias]] = _aliases()
    SECTION_KEYS: ClassVar[Mapping[str, frozenset[str]]] = {
        section: frozenset(field.name for cls in classes.values() for field in fields(cls))
        for section, classes in (COMPONENTS | {name: {name: cls} for name, cls in SECTIONS.items()}).items()
    }

    def __post_init__(self) -> None:
        self.check_running()
        if self.compile and self.checkpoint_activations:
            raise UsageError(
                "--compile and --checkpoint-activations: compiled layers choose by themselves what they keep; give one "
                "of them"
            )
        if self.disable_validation and self.lr_scheduler.reads_figures:
            raise UsageError(
                f"--lr-scheduler {self.lr_scheduler.name}: goes by the figures of validations, which "
                "--disable-validation leaves out; give one of them"
            )
        if isinstance(self.optimizer.lr, tuple) and not self.lr_scheduler.takes_rates:
            rates = ",".join(f"{rate:g}" for rate in self.optimizer.lr)
            raise UsageError(
                f"--lr {rates}: a rate for each epoch is for --lr-scheduler fixed, not {self.lr_scheduler.name}; "
                "choose that, or give one rate"
            )
        if not self.model.copy and self.objective.coverage_loss_weight:
            raise UsageError(
                f"--coverage-loss-weight {self.objective.coverage_loss_weight:g}: is for models that copy words of the "
                "source; give --copy too, or leave it out"
            )
        if self.model.copy and self.sampling.has_noise:
            raise UsageError(
                "--word-dropout, --word-mask or --word-shuffle: what is copied from a source with noise is not its "
                "text; leave them or --copy out"
            )
        if self.model.reads_source:
            return
        for_sources = {
            "--eval-metrics": self.eval_metrics,
            f"--best-checkpoint-metric {self.best_checkpoint_metric}": self.best_checkpoint_metric
            not in ("loss", "ppl"),
            f"--max-source-length {self.max_source_length}": self.max_source_length,
            f"--encoder-loss {self.objective.encoder_loss}": self.objective.encoder_loss != "none",
            f"--subword-sampling {self.sampling.subword_sampling}": "source" in self.sampling.subword_sides,
            "--word-dropout, --word-mask or --word-shuffle": self.sampling.has_noise,
        }
        for flag, given in for_sources.items():
            if given:
                raise UsageError(
                    f"{flag}: is for models that read a source, and --arch {self.arch} is a language model; leave it "
                    "out"
                )

    @classmethod
    def resolve(
        cls, file: Mapping[str, Any], given: Mapping[str, Any], names: Mapping[str, str] | None = None
    ) -> TrainConfig:
        """Merge defaults < preset < file < given into a checked config.

        file: a TOML file's content. given: dotted keys from the command line, "model.dropout" → value.
        names: key → what the user typed for it, for messages. Raises UsageError.
        """
        names = names or {}
        flags = nest(given)
        for layer, origin in ((file, "config file"), (flags, "--set")):
            _check_sections(layer, origin)
        arch = _arch_of({**file, **flags}, names)
        # What is written by hand does not name the model beside the preset, and says what it means for any.
        if file.get("arch", arch) != arch and "name" in file.get("model", {}):
            file = _beyond_preset(file, _arch_of(file, {}), names)
        components = {
            section: _component(
                section,
                [PRESETS[arch].get(section, {}), file.get(section, {}), flags.get(section, {})],
                names,
            )
            for section in COMPONENTS
        }
        _check_family(arch, components["model"].name, names)
        sections = {
            section: _build_section(section, kind, {**file.get(section, {}), **flags.get(section, {})}, names)
            for section, kind in SECTIONS.items()
        }
        config = build(cls, {**file, **flags, **components, **sections}, names=names)
        return replace(config, lr_scheduler=config.lr_scheduler.settled(config.max_update))


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
        own = as_dict(_component(section, [preset[section], chosen], names)) | {
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


def _check_sections(layer: Mapping[str, Any], origin: str) -> None:
    known = (*COMPONENTS, *SECTIONS)
    for key, value in layer.items():
        if isinstance(value, Mapping) and key not in (*known, *setting_types(TrainConfig)):
            raise UsageError(f"{origin}: unknown section {key!r}{did_you_mean(key, known)}")
        if not isinstance(value, Mapping) and key in SECTIONS:
            raise UsageError(
                f"{origin}: {key} is a section, with keys such as {key}.{next(iter(setting_types(SECTIONS[key])))}"
            )
        if not isinstance(value, Mapping) and key in COMPONENTS:
            raise UsageError(f"{origin}: {key} is a section; write {key}.name = {spelled(value)}")


def _component(section: str, layers: list[Mapping[str, Any]], names: Mapping[str, str]) -> Any:
    """Merge a section's layers, lowest first, and build the config that its `name` chooses.

    A key is checked against the component that is chosen in the end; only a preset's keys give way in
    silence when another layer chooses a component that does not know them.
    """
    classes = COMPONENTS[section]
    preset, *chosen = layers
    merged: dict[str, Any] = {**preset}
    for layer in chosen:
        merged |= layer
    choices = Limits(help="", choices=tuple(classes))
    name = check_value(str, choices, merged["name"], names.get(f"{section}.name", f"{section}.name"))
    if name != preset["name"] and not any("lr" in layer for layer in chosen):
        # A rate that is good for one optimizer is none for another.
        merged.pop("lr", None)
    cls = classes[name]
    explicit = {key for layer in chosen for key in layer}
    known = setting_types(cls)
    for key in explicit - set(known):
        owners = [other for other, config in classes.items() if key in setting_types(config)]
        if owners:
            typed = names.get(f"{section}.{key}", f"{section}.{key}")
            raise UsageError(f"{typed} does not apply to {section} {name!r}, only to {', '.join(owners)}")
    values = {key: value for key, value in merged.items() if key in known or key in explicit}
    return _build_section(section, cls, values, names)


def _build_section(section: str, cls: type[Any], values: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Build a section's config; names: dotted key → what the user typed for it, for messages."""
    prefix = f"{section}."
    typed_names = {key.removeprefix(prefix): typed for key, typed in names.items() if key.startswith(prefix)}
    return build(cls, values, where=f"[{section}]", names=typed_names)
