"""Every row of every registry: it is called what its row says, and what builds it is there."""

from __future__ import annotations

from inspect import isfunction
from typing import Any

import pytest

from s2scli import components
from s2scli.configs.adapters import AdapterConfig
from s2scli.configs.attention import AttentionScoreConfig
from s2scli.configs.attribution import AttributionConfig
from s2scli.configs.component import ComponentConfig
from s2scli.configs.model import ModelConfig
from s2scli.configs.noise import NoiseConfig
from s2scli.configs.objectives import ObjectiveConfig
from s2scli.configs.optimizers import OptimizerConfig
from s2scli.configs.schedules import ScheduleConfig
from s2scli.configs.search import SearchMethodConfig
from s2scli.errors import UsageError
from s2scli.exporting.target import ExportTarget
from s2scli.features.extraction import FrameReader
from s2scli.features.matrix import MatrixFormat
from s2scli.features.recording import Recording
from s2scli.foreign.base import ForeignFamily
from s2scli.metrics.base import Metric
from s2scli.registry import Names, Registry
from s2scli.sweeping.samplers import Sampler
from s2scli.sweeping.schedulers import TrialScheduler
from s2scli.text.tokenizer import Tokenizer

# What the entries of each registry are subclasses of, and how the program calls them.
BASES: dict[str, tuple[type[Any], str]] = {
    "MODELS": (ModelConfig, "name"),
    "ATTENTION_SCORES": (AttentionScoreConfig, "name"),
    "OPTIMIZERS": (OptimizerConfig, "name"),
    "SCHEDULES": (ScheduleConfig, "name"),
    "OBJECTIVES": (ObjectiveConfig, "name"),
    "NOISES": (NoiseConfig, "name"),
    "ADAPTERS": (AdapterConfig, "name"),
    "ATTRIBUTIONS": (AttributionConfig, "name"),
    "SEARCHES": (SearchMethodConfig, "name"),
    "METRICS": (Metric, ""),
    "MODEL_METRICS": (Metric, ""),
    "TOKENIZERS": (Tokenizer, "kind"),
    "FOREIGN_FAMILIES": (ForeignFamily, ""),
    "EXPORT_TARGETS": (ExportTarget, ""),
    "SOUND_FORMATS": (Recording, ""),
    "MATRIX_FORMATS": (MatrixFormat, ""),
    "FRAME_READERS": (FrameReader, ""),
    "SAMPLERS": (Sampler, ""),
    "TRIAL_SCHEDULERS": (TrialScheduler, ""),
}
# Registries whose rows are functions.
FUNCTIONS = {"ENGINES"}
REGISTRIES = {name: value for name, value in vars(components).items() if isinstance(value, Registry)}
ROWS = [(registry, name) for registry in BASES for name in REGISTRIES[registry]]


def test_every_registry_has_a_base_class() -> None:
    assert BASES.keys() | FUNCTIONS == REGISTRIES.keys()


@pytest.mark.parametrize(
    ("registry", "name"), [(name, row) for name in sorted(FUNCTIONS) for row in REGISTRIES[name]]
)
def test_a_row_names_a_function(registry: str, name: str) -> None:
    pytest.importorskip(name, reason="the extra of this name is not installed")
    assert isfunction(REGISTRIES[registry][name])


@pytest.mark.parametrize(("registry", "name"), ROWS)
def test_a_component_is_called_what_its_row_says(registry: str, name: str) -> None:
    base, called = BASES[registry]
    entry = REGISTRIES[registry][name]
    assert issubclass(entry, base)
    if called:
        assert getattr(entry, called) == name
    if issubclass(entry, ComponentConfig):
        assert callable(ComponentConfig.builder.fget(entry))  # type: ignore[attr-defined]


def test_a_row_is_added_once() -> None:
    registry = Registry("thing", {"one": "string:digits"})
    names = Names("none", registry, without=("three",))
    assert (list(names), len(names), "two" in names) == (["none", "one"], 2, False)
    registry.add("two", "string:ascii_letters")
    registry.add("two", "string:ascii_letters")
    registry.add("three", "string:capwords")
    assert (list(names), "two" in names, "three" in names) == (["none", "one", "two"], True, False)
    assert registry["two"][:3] == "abc"
    with pytest.raises(UsageError, match="thing 'one': cannot be string:letters, it is string:digits"):
        registry.add("one", "string:letters")


def test_a_row_from_outside_that_leads_nowhere_is_named() -> None:
    registry = Registry("thing", {})
    for entry in ("string:nothing", "no_such_module:x", "string"):
        registry.add(entry, entry)
        with pytest.raises(UsageError, match=f"thing '{entry}': no {entry}: "):
            registry[entry]
