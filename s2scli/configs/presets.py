"""Presets: `--arch NAME` sets the model and what makes it train well, all of which flags can override.

Each family's config has its own (`ModelConfig.presets`); here they are found by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from s2scli.components import MODELS
from s2scli.errors import UsageError, did_you_mean

Preset = Mapping[str, Mapping[str, Any]]
"""What `--arch NAME` sets, by section: the model, and what makes it train well."""


def preset(
    model: Mapping[str, Any],
    *,
    lr: float = 0.001,
    warmup_updates: int = 1000,
    label_smoothing: float = 0.1,
    optimizer: str = "adam",
) -> Preset:
    """A model, and what trains it: an optimizer whose rate rises and then falls with the root of the update."""
    return {
        "model": model,
        "optimizer": {"name": optimizer, "lr": lr},
        "lr_scheduler": {"name": "inverse_sqrt", "warmup_updates": warmup_updates},
        "objective": {"name": "label_smoothed_cross_entropy", "label_smoothing": label_smoothing},
        "noise": {"name": "none"},
        "adapter": {"name": "none"},
    }


def copying(other: Preset) -> Preset:
    """The same, copying words of the source; without label smoothing, as See et al. 2017 have it."""
    return {
        **other,
        "model": {**other["model"], "copy": True},
        "objective": {"name": "label_smoothed_cross_entropy", "label_smoothing": 0.0},
    }


class Presets(Mapping[str, Preset]):
    """The presets of all families of models, by name, with all sections; a family without one has its own name for one.

    Raises UsageError, with the nearest name, for a name that is not there, and for one that two families have.
    """

    def __getitem__(self, name: str) -> Preset:
        found = self._all()
        if name not in found:
            raise UsageError(f"unknown preset {name!r}{did_you_mean(name, found)}")
        return found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    @staticmethod
    def _all() -> dict[str, Preset]:
        found: dict[str, Preset] = {}
        for family, config in MODELS.items():
            own: Mapping[str, Preset] = config.presets or {family: {}}
            if twice := found.keys() & own.keys():
                raise UsageError(
                    f"model {family!r}: a preset {min(twice)!r} is there already; choose another name"
                )
            for name, chosen in own.items():
                model = {"name": family, **chosen.get("model", {})}
                found[name] = {**preset(model), **chosen, "model": model}
        return found


PRESETS = Presets()
