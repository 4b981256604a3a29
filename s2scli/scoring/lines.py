"""Lines one by one: their scores in a file, and those that are worst or differ most, shown side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2scli.configs.score import ScoreConfig
from s2scli.io import open_text
from s2scli.metrics.base import Floats
from s2scli.metrics.error_rate import ErrorRate
from s2scli.record import to_line
from s2scli.scoring.differences import Pieces, differing, gains, goodness, imperfect, least
from s2scli.scoring.results import ScoreResult
from s2scli.scoring.tables import harmless
from s2scli.streams import is_open_terminal
from s2scli.styled import StyledConsole

_SHOWN = 10
# Without a terminal to tell it.
_WIDTH = 120


def write_segments(path: Path, result: ScoreResult) -> None:
    """Write the scores of each line: JSON lines, or TSV with a column a system and metric."""
    columns = [
        (name, metric, result.per_line(system, place))
        for system, name in enumerate(result.systems)
        for place, metric in enumerate(result.metrics)
    ]
    write = _json_lines if path.name.endswith(".jsonl") else _tab_separated
    with open_text(path) as stream:
        stream.writelines(f"{line}\n" for line in write(result.segments, columns))


def _tab_separated(segments: int, columns: Sequence[tuple[str, str, Floats]]) -> Iterator[str]:
    yield "\t".join(["line", *(harmless(_one_cell(f"{system}:{metric}")) for system, metric, _ in columns)])
    for line in range(segments):
        yield "\t".join([str(line + 1), *(f"{values[line]:.6g}" for _, _, values in columns)])


def _one_cell(text: str) -> str:
    """A name, which may hold what ends a cell or a line, as one cell."""
    return " ".join(text.split())


def _json_lines(segments: int, columns: Sequence[tuple[str, str, Floats]]) -> Iterator[str]:
    for line in range(segments):
        scores: dict[str, dict[str, float]] = {}
        for system, metric, values in columns:
            scores.setdefault(system, {})[metric] = float(f"{values[line]:.6g}")
        yield to_line({"line": line + 1, "scores": scores})


def show_lines(config: ScoreConfig, result: ScoreResult) -> None:
    """Print the lines that --worst and --diff ask for."""
    if not (config.worst or config.diff):
        return
    console = StyledConsole(**({} if is_open_terminal(sys.stdout) else {"width": _WIDTH}))
    number = config.worst or _SHOWN
    errors = [place for place, metric in enumerate(result.metrics.values()) if isinstance(metric, ErrorRate)]
    if len(result.systems) == 1 and errors[:1] != [0]:
        _show_worst(console, result, number)
    for system in range(1, len(result.systems)):
        gained = gains(result, system)
        if config.diff:
            _show_pairs(console, result, system, least(-abs(gained), number, 0), "the lines that differ most")
        if config.worst:
            _show_pairs(console, result, system, least(gained, number, 0), "the lines that lose most")
    for system in range(len(result.systems)) if config.worst else ():
        for place in errors[:1]:
            _show_aligned(console, result, system, place, number)


def _show_worst(console: Console, result: ScoreResult, number: int) -> None:
    """The worst lines of a system beside their references."""
    metric, outputs = next(iter(result.metrics.values())), result.corpus.systems[0]
    scores = result.per_line(0, 0)
    lines = imperfect(result, 0, number)
    if not lines:
        console.print("\nevery line is word for word a reference")
        return
    console.print(f"\nthe lines that score worst by {metric.name}")
    table = _table("line", metric.name, "reference", result.systems[0])
    for line in lines:
        left, right = differing(result.corpus.reference(line), outputs[line])
        table.add_row(
            f"{line + 1}", f"{scores[line]:.2f}", _text(left, "green", console), _text(right, "red", console)
        )
    console.print(table)


def _show_aligned(console: Console, result: ScoreResult, system: int, place: int, number: int) -> None:
    """The worst lines of a system by a rate of errors, each aligned with the nearest of its references."""
    metric, outputs = list(result.metrics.values())[place], result.corpus.systems[system]
    assert isinstance(metric, ErrorRate)
    rates = result.per_line(system, place)
    worst = least(goodness(result, system, place), number, 0)
    name = f"of {result.systems[system]} " if len(result.systems) > 1 else ""
    found = f"the lines {name}that score worst by {metric.name}" if worst else f"no line {name}has an error"
    console.print(f"\n{found}")
    for line in worst:
        rights = [item[line] for item in result.corpus.references]
        drawn = metric.drawn(outputs[line], [right for right in rights if right is not None])
        console.print(f"\n{line + 1}: {metric.name} {rates[line]:.2f}")
        # Columns are under each other, so that lines that are too long must not be folded.
        print(drawn)


def _show_pairs(console: Console, result: ScoreResult, system: int, lines: Sequence[int], which: str) -> None:
    """Lines of the first system and another side by side, under their references."""
    corpus, name = result.corpus, next(iter(result.metrics.values())).name
    before, after = result.per_line(0, 0), result.per_line(system, 0)
    shown = f"{which} by {name}" if lines else f"{which} by {name}: none"
    console.print(f"\n{result.systems[system]} beside {result.systems[0]}: {shown}")
    if not lines:
        return
    table = _table("line", name, "reference", result.systems[0], result.systems[system])
    for line in lines:
        left, right = differing(corpus.systems[0][line], corpus.systems[system][line])
        table.add_row(
            f"{line + 1}",
            f"{before[line]:.2f} → {after[line]:.2f}",
            Text(corpus.reference(line)),
            _text(left, "red", console),
            _text(right, "green", console),
        )
    console.print(table)


def _table(*names: str) -> Table:
    table = Table(show_lines=True)
    for name in names:
        table.add_column(Text(name), overflow="fold")
    return table


def _text(pieces: Pieces, colour: str, console: Console) -> Text:
    """A line with its differing parts in colour, or in braces where there is none."""
    text = Text()
    for part, differs in pieces:
        if not differs:
            text.append(part)
        elif console.color_system is None:
            words = part.strip()
            text.append(part.replace(words, f"{{{words}}}") if words else part)
        else:
            text.append(part, style=f"bold {colour}")
    return text
