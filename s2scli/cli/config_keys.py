"""What is wrong with the keys of a config file, or of --set: each that is not where it belongs, or is not ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from s2scli.cli.known_flags import KnownFlags, nearest
from s2scli.configs.command import CommandConfig
from s2scli.errors import UsageError, did_you_mean


def check_keys(
    config: type[CommandConfig],
    values: Mapping[str, Any],
    name: str,
    vocabulary: KnownFlags,
    *,
    dotted: bool = False,
) -> None:
    """Raise UsageError for all keys at once that are not known where they stand, each with where they belong.

    values: the content of the config file called `name`, sections as mappings. dotted: keys of sections are written
    as section.key, and not as [section] key.
    """
    sections = config.section_keys()
    top = {field.name for field in dataclasses.fields(config)} - {*sections}
    problems = [*_Keys(vocabulary, sections, top, dotted).problems(values)]
    if len(problems) > 1:
        lines = [f"{key}: {hint}" for key, hint in problems]
        raise UsageError(f"{name}: {len(problems)} keys are not known where they stand", details=lines)
    for key, hint in problems:
        raise UsageError(f"{name}{' ' if dotted else ': '}{key}: unknown key; {hint}")


@dataclasses.dataclass(frozen=True)
class _Keys:
    """The keys of a command's config: those of each section, and those before the first one."""

    vocabulary: KnownFlags
    sections: Mapping[str, frozenset[str]]
    top: set[str]
    dotted: bool

    def problems(self, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Each key that is not known where it stands, and what to do about it."""
        for key, value in values.items():
            if not isinstance(value, Mapping):
                if key not in self.top and key not in self.sections:
                    yield key, self._meant(key, self.top)
            elif key not in self.sections:
                yield key if self.dotted else f"[{key}]", self._meant_section(key)
            else:
                known = self.sections[key]
                yield from (
                    (self._place(key, item), self._meant(item, known)) for item in value if item not in known
                )

    def _meant(self, key: str, known: set[str] | frozenset[str]) -> str:
        homes = [self._place(section, key) for section, keys in self.sections.items() if key in keys]
        if key in self.top:
            homes.append(key if self.dotted else f"{key}, before the first section")
        flag = self.vocabulary.same("--" + key.replace("_", "-"))
        if not homes and flag and self.vocabulary.options[flag].key:
            section, _, name = self.vocabulary.options[flag].key.rpartition(".")
            homes.append(self._place(section, name))
        if homes:
            return f"write {' or '.join(homes)}"
        asked = "--" + key.replace("_", "-")
        near = nearest(key, known)
        # What another command has under this very name is no misspelling.
        if near and not self.vocabulary.elsewhere(asked):
            return f"did you mean {near}?"
        return self.vocabulary.instead_of(asked)

    def _meant_section(self, key: str) -> str:
        if self.sections:
            return did_you_mean(key, self.sections).removeprefix("; ")
        return f"s2s {self.vocabulary.command} has no sections"

    def _place(self, section: str, key: str) -> str:
        if not section:
            return key
        return f"{section}.{key}" if self.dotted else f"[{section}] {key}"
