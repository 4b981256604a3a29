"""What the config of every command can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from s2scli.configs.alias import Alias
from s2scli.schema import build


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """Settings of a command. They stand side by side; only what is chosen by name has a section of its own.

    Settings that several commands have are dataclasses too, which the command's inherits from.
    """

    @classmethod
    def aliases(cls) -> Mapping[str, Alias]:
        """Flags beside those of the fields: those of keys in sections."""
        return {}

    @classmethod
    def section_keys(cls) -> Mapping[str, frozenset[str]]:
        """The keys that each section of a config file may have."""
        return {}

    @classmethod
    def sections(cls) -> Mapping[str, Mapping[str, type[Any]]]:
        """The settings dataclasses that each section may be of, by the name of the component."""
        return {}

    @classmethod
    def section_defaults(
        cls, file: Mapping[str, Any], given: Mapping[str, Any], names: Mapping[str, str]
    ) -> Mapping[str, Mapping[str, Any]]:
        """The component that each section chooses, as its key "name", and the defaults of its settings.

        file, given, names: as in `resolve`.
        """
        del file, given, names
        return {}

    @classmethod
    def architectures(cls) -> Mapping[str, Sequence[str]]:
        """The presets of each family of models, of a command that trains some."""
        return {}

    @classmethod
    def resolve(
        cls, file: Mapping[str, Any], given: Mapping[str, Any], names: Mapping[str, str] | None = None
    ) -> Self:
        """Merge defaults < file < given into a checked config.

        file: a TOML file's content. given: keys, dotted where they are of a section, from the command line.
        names: key → what the user typed for it, for messages. Raises UsageError.
        """
        return build(cls, {**file, **given}, names=names)
