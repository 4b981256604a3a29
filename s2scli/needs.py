"""What a setting needs to have an effect: another setting, or one of some of its values.

    top_p: float = setting(1.0, "…", needs="sampling")
    alignment_heads: int = setting(1, "…", needs="copy")                      # of the same section
    coverage_loss_weight: float = setting(0.0, "…", needs="model.copy")       # of another section
    attention_dim: int = setting(256, "…", needs="attention=additive,concat")
    attention_query: str = setting("previous", "…", needs="attention!=none")
    gen_subset: str = setting("test", "…", needs="data")
    source_field: str = setting("source", "…", needs=("!data", "input_format=auto,jsonl"))
    eval_beam: int = setting(1, "…", needs="eval_metrics | best_checkpoint_metric!=loss,ppl")

`name`: another value than its default, or typed beside it; `!name`: its default; `|` parts alternatives, of which one
is enough; of several texts all are needed. A function in place of a text gives it whenever it is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from s2scli.console import notice
from s2scli.errors import UsageError
from s2scli.schema import Limits, build, limits_of, spelled

C = TypeVar("C")


@dataclass(frozen=True)
class Need:
    """Another setting, by its dotted key, and which of its values do: these, or where `excluded` all but these.

    Without values any but its default does, or where `excluded` its default alone.
    """

    key: str
    values: tuple[str, ...] = ()
    excluded: bool = False

    def spell(self, called: Callable[[str], str]) -> str:
        """What is lacking, in words; `called` says how the user knows a key: "--format jsonl or table"."""
        if not self.values:
            return called(self.key)
        values = f"{', '.join(self.values[:-1])} or {self.values[-1]}" if self.values[1:] else self.values[0]
        return f"{called(self.key)} {'other than ' if self.excluded else ''}{values}"


@dataclass(frozen=True)
class Lack:
    """A setting that has no effect: its dotted key, its value, and the needs of which one should be met."""

    key: str
    value: Any
    needs: tuple[Need, ...]

    def reason(self, called: Callable[[str], str]) -> str:
        """Why it has no effect: "without --sampling", "beside --serve"."""
        (first, *_) = self.needs
        if first.excluded and not first.values:
            return f"beside {called(first.key)}"
        return f"without {' or '.join(need.spell(called) for need in self.needs)}"


def needs_of(limits: Limits, section: str = "") -> tuple[tuple[Need, ...], ...]:
    """Read what a setting of a section was declared to need: all of it, and of each the alternatives."""
    texts = [text if isinstance(text, str) else text() for text in limits.needs]
    return tuple(tuple(_read(part.strip(), section) for part in text.split("|")) for text in texts)


def _read(text: str, section: str) -> Need:
    name, equals, values = text.partition("=")
    excluded = "!" in name
    name = name.strip("!")
    key = f"{section}.{name}" if section and "." not in name else name
    return Need(key, tuple(values.split(",")) if equals else (), excluded)


def without_effect(config: Any, typed: Iterable[str] = ()) -> Iterator[Lack]:
    """List the settings of a config that have no effect: those other than their defaults, and those `typed`.

    typed: dotted keys. A switch that is turned off asks for nothing, and so needs nothing.
    """
    typed = {*typed}
    for section, part in _parts(config):
        for field in dataclasses.fields(part):
            if "limits" not in field.metadata:
                continue
            key = f"{section}.{field.name}" if section else field.name
            value = getattr(part, field.name)
            if value is False or (key not in typed and value == field.default):
                continue
            for needs in needs_of(limits_of(field), section):
                known = tuple(need for need in needs if _can_be(need, config))
                if known and not any(_is_met(need, config, typed) for need in known):
                    yield Lack(key, value, known)
                    break


def check_needs(config: Any, typed: Mapping[str, str], called: Callable[[str], str]) -> None:
    """UsageError where what was typed has no effect; it names that and what is missing.

    typed: dotted key → how it was typed; called: how a key would be typed.
    """
    reasons: dict[str, list[str]] = {}
    for lack in without_effect(config, typed):
        if lack.key in typed:
            reasons.setdefault(lack.reason(called), []).append(typed[lack.key])
    if reasons:
        problems = (
            f"{', '.join(names)} {'have' if names[1:] else 'has'} no effect {reason}"
            for reason, names in reasons.items()
        )
        raise UsageError(f"{'; '.join(problems)}")


def note_needs(config: Any) -> None:
    """Tell of settings that have no effect as a config is, from wherever it came."""
    for lack in without_effect(config):
        notice(f"{lack.key} = {spelled(lack.value)} has no effect {lack.reason(str)}")


def with_changes(
    config: C, changes: Mapping[str, Any], names: Mapping[str, str], called: Callable[[str], str] = str
) -> C:
    """A config with some settings changed, converted and checked as those of a command line are.

    names: key → how the change was typed; called: how a key would be typed. Raises UsageError.
    """
    current = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    result = build(type(config), {**current, **changes}, names=names)
    check_needs(result, names, called)
    return result


def _parts(config: Any) -> Iterator[tuple[str, Any]]:
    """A config's own settings and those of its sections, by the section's name."""
    yield "", config
    for field in dataclasses.fields(config):
        part = getattr(config, field.name)
        if dataclasses.is_dataclass(part):
            yield field.name, part


def _owner(config: Any, key: str) -> Any:
    """The part of a config that has a setting; None where there is no such setting."""
    section, _, name = key.rpartition(".")
    part = getattr(config, section, None) if section else config
    return part if hasattr(part, name) else None


def _can_be(need: Need, config: Any) -> bool:
    """Whether a config has such a setting, with such values: one that it shares with another command may need none."""
    owner, name = _owner(config, need.key), need.key.rpartition(".")[2]
    if owner is None:
        return False
    fields = [field for field in dataclasses.fields(owner) if field.name == name]
    choices = limits_of(fields[0]).choices if fields else ()
    return not choices or need.excluded or not need.values or not {*choices}.isdisjoint(need.values)


def _is_met(need: Need, config: Any, typed: Iterable[str]) -> bool:
    owner, name = _owner(config, need.key), need.key.rpartition(".")[2]
    value = getattr(owner, name)
    if need.values:
        words = {str(item).lower() for item in (value if isinstance(value, tuple) else (value,))}
        return words.isdisjoint(need.values) if need.excluded else not words.isdisjoint(need.values)
    default = next(field.default for field in dataclasses.fields(owner) if field.name == name)
    return value == default if need.excluded else value != default or need.key in typed
