"""What is to be said of single lines: in their records, and of many lines in one warning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from s2scli.console import counted, warn

# So many lines are told by their numbers.
_NUMBERED = 8
TELLS_EACH = "--verbose tells of each"


class Note(NamedTuple):
    """What is to be said of a line.

    kind: what is said of all lines of which the same is said, "are cut to 40 tokens". text: of this one.
    """

    kind: str
    text: str


@dataclass
class Summary:
    """Notes of lines, of which each kind is told in one warning; verbose: each at once, by itself.

    name: the file that the lines are of, where that is not clear. remedy: how to see all of them, if there is a way.
    """

    verbose: bool = False
    name: str = ""
    remedy: str = f"{TELLS_EACH}, and --format jsonl has it in its records"
    _found: dict[str, dict[int, str]] = field(default_factory=dict)

    def add(self, line: int, notes: Iterable[Note]) -> None:
        """Take the notes of a line, which is numbered from 0."""
        for note in notes:
            if self.verbose:
                warn(f"{self._place(line)}: {note.text}")
            else:
                self._found.setdefault(note.kind, {}).setdefault(line, note.text)

    def tell(self) -> None:
        """Warn of each kind of note that there is, and forget them."""
        for kind, lines in self._found.items():
            if len(lines) == 1:
                ((line, text),) = lines.items()
                warn(f"{self._place(line)}: {text}")
                continue
            numbers = ", ".join(str(line + 1) for line in sorted(lines)[:_NUMBERED])
            more = ", …" if len(lines) > _NUMBERED else ""
            lead, end = f"{self.name}: " if self.name else "", f"; {self.remedy}" if self.remedy else ""
            warn(f"{lead}{counted(len(lines), 'line')} {kind}: {numbers}{more}{end}")
        self._found.clear()

    def _place(self, line: int) -> str:
        return f"{self.name}:{line + 1}" if self.name else f"line {line + 1}"
