"""What `--help` shows: settings in two columns, words whole, each with its default and with what has it.

`s2s COMMAND --help` shows the settings that people change, `--help-all` all of them under headings, and
`s2s help COMMAND.PART` those under one heading. Settings of components (s2scli/configs: PARTS) are shown with the
default that the chosen preset gives, and with the components that have them where not all do.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s2scli.cli.commands import COMMANDS, CONFIGS
from s2scli.cli.options import OWN_FLAGS, Flag, Given, flags_of, notes_of, spelled_default, with_notes
from s2scli.manual import CHAPTERS
from s2scli.schema import limits_of

Rows = Sequence[tuple[str, str]]

# Wider text is harder to read, whatever the terminal has.
_WIDEST = 120
# The share of the columns that may be taken by how a flag is typed, before its text begins in the next line.
_TYPED = 0.36
_OWN = "Help and config files"
_HELP = ("help", "Show a chapter of the manual, or list its chapters.")
_NOTHING = Given({}, {}, None, debug=False)


@dataclass(frozen=True)
class _Part:
    """The components of a section: names, settings classes to show, the chosen one, its defaults."""

    names: Sequence[str]
    classes: Mapping[str, type[Any]]
    chosen: str
    defaults: Mapping[str, Any]

    @property
    def alone(self) -> _Part:
        """The same with the chosen component only."""
        return dataclasses.replace(self, classes={self.chosen: self.classes[self.chosen]})

    def has(self, name: str) -> bool:
        """Whether any of the components has a setting of that name."""
        return any(field.name == name for cls in self.classes.values() for field in dataclasses.fields(cls))

    def describe(self, name: str) -> str:
        """A setting in each of the components that have it, unless it is the same in all."""
        owners: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
        for component, cls in self.classes.items():
            for field in (field for field in dataclasses.fields(cls) if field.name == name):
                limits = limits_of(field)
                if name == "name":
                    limits = dataclasses.replace(limits, choices=tuple(self.names))
                default = self.defaults[name] if component == self.chosen else field.default
                key = limits.help, tuple(notes_of(limits))
                owners.setdefault(key, {})[component] = spelled_default(default)
        texts = []
        for (text, notes), having in owners.items():
            defaults = {"": self.chosen} if name == "name" else having
            whole = len(owners) == 1 and len(having) == len(self.classes)
            listed = "" if whole else f" [{', '.join(having)}]"
            texts.append(with_notes(text, [*notes, *_defaults(defaults)]) + listed)
        return "; ".join(texts)


def _listed(names: Sequence[str]) -> str:
    """Some names as a sentence has them: "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _defaults(of_components: Mapping[str, str]) -> list[str]:
    """The default of a setting, or of each component that has it: "default: 0.001 with adam, adamw; 0.1 with sgd"."""
    owners: dict[str, list[str]] = {}
    for component, value in of_components.items():
        if value:
            owners.setdefault(value, []).append(component)
    if len(owners) < 2:
        return [f"default: {value}" for value in owners]
    return ["default: " + ", ".join(f"{value} with {_listed(names)}" for value, names in owners.items())]


@dataclass(frozen=True)
class _Listing:
    """The settings of a command as its help shows them.

    parts: the components of each section, of a command whose config has sections. fits: a preset or a component was
    named, and nothing else is shown than what these have.
    """

    name: str
    flags: Sequence[Flag]
    parts: Mapping[str, _Part]
    fits: bool

    @property
    def arguments(self) -> list[Flag]:
        """What is typed without a name."""
        return [flag for flag in self.flags if flag.argument]

    @property
    def panels(self) -> dict[str, list[Flag]]:
        """The flags under their headings, all in alphabetical order."""
        found: dict[str, list[Flag]] = {}
        for flag in sorted(self.flags, key=lambda flag: flag.name):
            section, _, key = flag.key.rpartition(".")
            if not flag.argument and flag.key and (section not in self.parts or self.parts[section].has(key)):
                found.setdefault(flag.panel or "Settings", []).append(flag)
        return dict(sorted(found.items()))

    @property
    def common(self) -> list[Flag]:
        """The flags that people change, in alphabetical order."""
        flags = (flag for flags in self.panels.values() for flag in flags)
        return sorted((flag for flag in flags if flag.common), key=lambda flag: flag.name)

    @property
    def own(self) -> list[Flag]:
        """--set, where the command has it, and what every command has."""
        return [*(flag for flag in self.flags if not flag.key), *OWN_FLAGS]

    def of_chosen(self) -> _Listing:
        """The same, of components with those only that are chosen."""
        parts = {section: part.alone for section, part in self.parts.items()}
        return dataclasses.replace(self, parts=parts)

    def rows(self, flags: Iterable[Flag]) -> Rows:
        """How each flag is typed, and what it means."""
        return [(_typed(flag), self._text(flag)) for flag in flags]

    def _text(self, flag: Flag) -> str:
        section, _, key = flag.key.rpartition(".")
        return self.parts[section].describe(key) if section in self.parts else flag.help

    def section_of(self, panel: str) -> str:
        """The section of config files that the settings under a heading are in; empty where they are in none."""
        return next((flag.key.rpartition(".")[0] for flag in self.panels[panel] if "." in flag.key), "")


def _listing(name: str, given: Given, file: Mapping[str, Any]) -> _Listing:
    """What there is to list of a command, as the preset and the components that were typed make it."""
    config = CONFIGS[name]
    flags = flags_of(config)
    classes: Mapping[str, Mapping[str, type[Any]]] = config.sections()
    if not classes:
        return _Listing(name, flags, {}, fits=False)
    chosen = config.section_defaults(file, given.values, given.names)
    parts = {
        section: _Part([*components], components, chosen[section]["name"], chosen[section])
        for section, components in classes.items()
    }
    chooses = {"arch", *(f"{section}.name" for section in parts)}
    listing = _Listing(name, flags, parts, fits=bool(file or chooses & given.values.keys()))
    return listing.of_chosen() if listing.fits else listing


def _typed(flag: Flag) -> str:
    """How a flag is typed: "-s, --source-lang TEXT", "--fast / --no-fast"."""
    if flag.argument:
        return flag.name
    names = flag.declaration.replace("/", " / ") if flag.key else flag.name
    names = f"{flag.short}, {names}" if flag.short else names
    return names if flag.switch else f"{names} {flag.metavar}"


def short_help(name: str, given: Given, file: Mapping[str, Any], width: int) -> str:
    """The settings of a command that people change; of one with few, all.

    given, file: what was typed beside --help, and what is in a config file: a preset that they name decides defaults.
    """
    listing = _listing(name, given, file)
    common = listing.common
    if not common:
        return full_help(name, given, file, width)
    number = len([flag for flag in listing.flags if flag.key])
    more = [(f"s2s {name} --help-all", f"all {number} settings, under headings")]
    if listing.parts:
        more.append((f"s2s {name} --arch NAME --help-all", "those of an architecture, with its own defaults"))
    if parts := parts_of(name):
        more.append((f"s2s help {name}.PART", f"one part of them; PART: {', '.join(parts)}"))
    listing = listing.of_chosen()
    return _page(
        _intro(listing, given, file, width),
        _section("Arguments", listing.rows(listing.arguments), width),
        _section("Common settings", listing.rows(common), width),
        _section(_OWN, listing.rows(listing.own), width),
        _section("More", [*more, *_chapters(name)], width),
    )


def full_help(name: str, given: Given, file: Mapping[str, Any], width: int) -> str:
    """All settings of a command: those that people change first, the others under headings; as in short_help."""
    listing = _listing(name, given, file)
    rest = {
        panel: [flag for flag in flags if flag not in listing.common]
        for panel, flags in listing.panels.items()
    }
    return _page(
        _intro(listing, given, file, width),
        _section("Arguments", listing.rows(listing.arguments), width),
        _section("Common settings", listing.rows(listing.common), width),
        *(_panel(listing, panel, flags, width) for panel, flags in rest.items() if flags),
        _section(_OWN, listing.rows(listing.own), width),
        _section("More", _chapters(name), width),
    )


def part_help(name: str, part: str, width: int) -> str:
    """The settings of a command under one heading; part: one of parts_of."""
    listing = _listing(name, _NOTHING, {})
    panel = parts_of(name)[part]
    return _page(
        _whose(listing, _NOTHING, {}, width) if part in listing.parts else "",
        _panel(listing, panel, listing.panels[panel], width),
    )


def parts_of(name: str) -> dict[str, str]:
    """The headings of a command's settings, by what `s2s help COMMAND.PART` calls them: {"model": "Model"}."""
    listing = _listing(name, _NOTHING, {})
    panels = listing.panels
    if len(panels) < 2:
        return {}
    parts = {listing.section_of(panel) or panel.lower().replace(" ", "-"): panel for panel in panels}
    return dict(sorted(parts.items()))


def program_help(options: Rows, width: int) -> str:
    """What `s2s --help` shows; options: how each of its own is typed, and what it means."""
    more = [
        ("s2s COMMAND --help", "the settings of a command that people change; --help-all: all of them"),
        ("s2s help", "the chapters of the manual; s2s help first-steps is where to begin"),
    ]
    return _page(
        "Usage: s2s COMMAND [SETTINGS]",
        _paragraph("Train and run sequence-to-sequence models.", width),
        _section("Commands", listed_commands(), width),
        _section("Options", options, width),
        _section("More", more, width),
    )


def manual_help(width: int) -> str:
    """What `s2s help` shows: the chapters, and what else it tells of."""
    more = [
        ("s2s help COMMAND", "the settings of a command that people change, as s2s COMMAND --help"),
        ("s2s help COMMAND.PART", "one part of its settings, as s2s help train.optimizer"),
    ]
    return _page(
        "Usage: s2s help TOPIC",
        _section("Chapters", [*CHAPTERS.items()], width),
        _section("More", more, width),
    )


def listed_commands() -> Rows:
    """The commands with what each does."""
    return [*((name, command.help) for name, command in COMMANDS.items()), _HELP]


def _intro(listing: _Listing, given: Given, file: Mapping[str, Any], width: int) -> str:
    """How a command is called, what it does, examples, and whose defaults are shown."""
    command = COMMANDS[listing.name]
    arguments = "".join(f" {flag.name}" if flag.required else f" [{flag.name}]" for flag in listing.arguments)
    examples = "\n".join(f"  {example}" for example in command.examples)
    return _page(
        f"Usage: s2s {listing.name}{arguments} [SETTINGS]",
        _paragraph(command.help, width),
        f"Examples:\n{examples}" if examples else "",
        _whose(listing, given, file, width),
    ).rstrip()


def _chapters(name: str) -> Rows:
    return [(f"s2s help {chapter}", CHAPTERS[chapter]) for chapter in COMMANDS[name].chapters]


def _whose(listing: _Listing, given: Given, file: Mapping[str, Any], width: int) -> str:
    """Whose defaults are shown, of a command whose config has components."""
    if not listing.parts:
        return ""
    arch = given.values.get("arch") or file.get("arch") or CONFIGS[listing.name].arch
    # Of what there is one of alone nothing was chosen.
    chosen = ", ".join(
        f"{section.replace('_', ' ')} {part.chosen}"
        for section, part in listing.parts.items()
        if len(part.names) > 1
    )
    which = f": {chosen}" if listing.fits else ", used if none is given, and of other components their own"
    return _paragraph(f"Defaults are those of --arch {arch}{which}.", width)


def _panel(listing: _Listing, panel: str, flags: Iterable[Flag], width: int) -> str:
    """The settings under a heading, with the section of config files they are in, and which presets have which."""
    section = listing.section_of(panel)
    title = f"{panel} ([{section}] in a config file)" if section else panel
    families: Mapping[str, Sequence[str]] = CONFIGS[listing.name].architectures()
    known = [
        (f"[{family}]", f"--arch {', '.join(names)}")
        for family, names in families.items()
        if section == "model" and family in listing.parts[section].classes
    ]
    return _section(title, [*listing.rows(flags), *known], width)


def _page(*blocks: str) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


def _paragraph(text: str, width: int) -> str:
    return "\n".join(_wrapped(text, min(width, _WIDEST)))


def _section(title: str, rows: Rows, width: int) -> str:
    """A heading and two columns under it; what is too long for the first has a line of its own."""
    if not rows:
        return ""
    width = min(width, _WIDEST)
    most = int(width * _TYPED)
    left = max((len(typed) for typed, _ in rows if len(typed) <= most - 4), default=most - 4) + 4
    lines = [f"{title}:"]
    for typed, text in rows:
        column = _wrapped(text, width - left)
        if len(typed) <= left - 4:
            lines.append(f"  {typed}".ljust(left) + column.pop(0))
        else:
            lines.append(f"  {typed}")
        lines += [" " * left + line for line in column]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    """The lines of a text, its words whole, and bounds together: ≥ 1 is one word here."""
    together = re.sub("([≥≤<>=]) ", "\\1\xa0", text)
    lines = textwrap.wrap(together, width, break_long_words=False, break_on_hyphens=False) or [""]
    return [line.replace("\xa0", " ") for line in lines]
