"""The sections of a training config: which component each chooses, its flags, and its settings from several layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from s2scli.components import ADAPTERS, MODELS, NOISES, OBJECTIVES, OPTIMIZERS, SCHEDULES
from s2scli.configs.alias import Alias
from s2scli.configs.sampling import SamplingConfig
from s2scli.errors import UsageError, did_you_mean
from s2scli.registry import Registry
from s2scli.schema import Limits, build, check_value, limits_of, setting_types, spelled

# Sections whose key `name` chooses a component, and what from.
COMPONENTS: dict[str, Registry] = {
    "model": MODELS,
    "optimizer": OPTIMIZERS,
    "lr_scheduler": SCHEDULES,
    "objective": OBJECTIVES,
    "noise": NOISES,
    "adapter": ADAPTERS,
}
# Sections of one kind, of which nothing is chosen by name.
SECTIONS: dict[str, type[Any]] = {"sampling": SamplingConfig}

# The headings of the help.
_PANELS = {
    "model": "Model",
    "optimizer": "Optimizer",
    "lr_scheduler": "Learning-rate schedule",
    "objective": "Objective",
    "noise": "Denoising",
    "adapter": "Adapter",
    "sampling": "Corpora and noise",
}

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
    "noise.name": "--noise",
    "adapter.name": "--adapter",
    "adapter.rank": "--adapter-rank",
    "adapter.alpha": "--adapter-alpha",
    "adapter.rslora": "--adapter-rslora",
    "adapter.layers": "--adapter-layers",
    "adapter.width": "--adapter-width",
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


def classes_of_sections() -> dict[str, dict[str, type[Any]]]:
    """The settings dataclasses that a section may be of, by the name of the component."""
    return {name: dict(registry) for name, registry in COMPONENTS.items()} | {
        name: {name: cls} for name, cls in SECTIONS.items()
    }


def section_keys() -> dict[str, frozenset[str]]:
    """The keys of each section, of all its components together."""
    return {
        section: frozenset(field.name for cls in classes.values() for field in fields(cls))
        for section, classes in classes_of_sections().items()
    }


def section_flags() -> dict[str, Alias]:
    """A flag for every component setting: --encoder-layers for model.encoder_layers, and so on."""
    found: dict[str, Alias] = {}
    for section, classes in classes_of_sections().items():
        for name in dict.fromkeys(field.name for cls in classes.values() for field in fields(cls)):
            key = f"{section}.{name}"
            flag = _FAIRSEQ_NAMES.get(key, "--" + name.replace("_", "-"))
            if key == "model.name" or flag in found:
                continue
            kinds = [types[name] for types in map(setting_types, classes.values()) if name in types]
            limits = [
                limits_of(field) for cls in classes.values() for field in fields(cls) if field.name == name
            ]
            choices = _choices_of(name, classes)
            metavars = {"NAME" if choices else _METAVARS.get(kind, "TEXT") for kind in kinds}
            found[flag] = Alias(
                key=key,
                help=limits[0].help,
                is_flag=kinds[0] in (bool, bool | None),
                panel=_PANELS[section],
                metavar=metavars.pop() if len(metavars) == 1 else "TEXT",
                choices=choices,
                common=any(item.common for item in limits),
            )
    return found


def _choices_of(name: str, classes: Mapping[str, type[Any]]) -> tuple[str, ...]:
    """The values that a setting has in any of the components; of `name` the components."""
    if name == "name":
        return tuple(classes)
    limits = (limits_of(field) for cls in classes.values() for field in fields(cls) if field.name == name)
    return tuple(dict.fromkeys(choice for item in limits for choice in item.choices))


def check_sections(layer: Mapping[str, Any], settings: Mapping[str, Any], origin: str) -> None:
    """UsageError for sections that there are not, and for values in the place of sections.

    layer: the settings of a config file or of flags; settings: those that are of no section.
    """
    known = (*COMPONENTS, *SECTIONS)
    for key, value in layer.items():
        if isinstance(value, Mapping) and key not in (*known, *settings):
            raise UsageError(f"{origin}: unknown section {key!r}{did_you_mean(key, known)}")
        if not isinstance(value, Mapping) and key in SECTIONS:
            raise UsageError(
                f"{origin}: {key} is a section, with keys such as {key}.{next(iter(setting_types(SECTIONS[key])))}"
            )
        if not isinstance(value, Mapping) and key in COMPONENTS:
            raise UsageError(f"{origin}: {key} is a section; write {key}.name = {spelled(value)}")


def build_component(section: str, layers: list[Mapping[str, Any]], names: Mapping[str, str]) -> Any:
    """Merge a section's layers, lowest first, and build the config that its `name` chooses.

    A key is checked against the component that is chosen in the end; only a preset's keys give way in
    silence when another layer chooses a component that does not know them.
    """
    classes = dict(COMPONENTS[section])
    preset, *chosen = layers
    explicit: dict[str, Any] = {}
    for layer in chosen:
        explicit |= layer
    name = _name_of(section, explicit.get("name", preset["name"]), names)
    cls = classes[name]
    known = setting_types(cls)
    for key in explicit.keys() - set(known):
        owners = [other for other, config in classes.items() if key in setting_types(config)]
        if owners:
            typed = names.get(f"{section}.{key}", f"{section}.{key}")
            raise UsageError(f"{typed} does not apply to {section} {name!r}, only to {', '.join(owners)}")
    merged = {**_of_preset(preset, name), **explicit}
    values = {key: value for key, value in merged.items() if key in known or key in explicit}
    return build_section(section, cls, values, names)


def build_section(section: str, cls: type[Any], values: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Build a section's config; names: dotted key → what the user typed for it, for messages."""
    prefix = f"{section}."
    typed_names = {key.removeprefix(prefix): typed for key, typed in names.items() if key.startswith(prefix)}
    return build(cls, values, where=f"[{section}]", names=typed_names)


def section_defaults(
    preset: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The component that each section chooses, with the default of each of its settings as a preset makes it.

    layers: a config file and flags, whose sections may choose others than the preset. Gives section → key → value,
    "name" among the keys; None is a value that depends on others. Raises UsageError for a name that is not known.
    """
    found: dict[str, dict[str, Any]] = {}
    for section, classes in classes_of_sections().items():
        own = preset.get(section, {"name": section})
        chosen = [layer[section]["name"] for layer in layers if "name" in layer.get(section, {})]
        name = _name_of(section, chosen[-1] if chosen else own["name"], names)
        given = _of_preset(own, name)
        defaults = {field.name: given.get(field.name, field.default) for field in fields(classes[name])}
        found[section] = defaults | {"name": name}
    return found


def _name_of(section: str, value: Any, names: Mapping[str, str]) -> str:
    """The component that a section's name chooses; UsageError where there is none of that name."""
    choices = Limits(help="", choices=tuple(classes_of_sections()[section]))
    name: str = check_value(str, choices, value, names.get(f"{section}.name", f"{section}.name"))
    return name


def _of_preset(section: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a preset's section says to a component: a rate that is good for one optimizer is none for another."""
    return {key: value for key, value in section.items() if key != "lr" or name == section["name"]}
