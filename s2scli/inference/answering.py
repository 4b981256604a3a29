"""From lines to records, in this process or in several, each with the model and threads of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from s2scli.configs.generate import GenerateConfig
from s2scli.console import uncounted
from s2scli.inference.engine import Engine
from s2scli.inference.input import UntilBroken
from s2scli.inference.lines import Line
from s2scli.inference.long_lines import find_parts, translate_lines
from s2scli.notes import Summary
from s2scli.plotting.heat import heat_maps, table
from s2scli.record import Record
from s2scli.styled import StyledConsole
from s2scli.workers import Workers

# A process is given so many batches of lines at most, so that those that take long can be set aside for a while.
_BATCHES_OF_A_JOB = 8

MakeEngine = Callable[[GenerateConfig], Engine]


def answers(
    engine: Engine,
    config: GenerateConfig,
    lines: Iterable[Line],
    window: int,
    done: Callable[[int], object] = uncounted,
) -> Iterator[Record]:
    """A record for each line, in order, with what the config asks for; window, done: see Engine.translate."""
    if config.score_reference:
        return engine.score(lines, window, done)
    return translate_lines(engine, lines, window, done, on_long=config.on_long)


def answers_of_parts(engine: Engine, config: GenerateConfig, lines: Sequence[Line]) -> Iterator[Record]:
    """The records of some lines as one batch, of parts of lines that were too long, too."""
    return (engine.score if config.score_reference else engine.translate)(lines, len(lines))


def told(records: Iterable[Record], summary: Summary) -> Iterator[Record]:
    """The records; at their end, or where the work is ended before it, what is to be said of their lines is told."""
    try:
        for record in records:
            summary.add(record.id, record.notes)
            yield record
    finally:
        summary.tell()


def check_line(engine: Engine, config: GenerateConfig, line: Line) -> None:
    """Raise the S2SError that `answers` would for a line, before there are any answers."""
    if config.score_reference:
        engine.encode_reference(line)
    elif config.on_long == "error":
        find_parts(engine, line, config.on_long)


def spell(record: Record, config: GenerateConfig) -> str:
    """A record as JSON, as fairseq prints it, or its best outputs as text lines."""
    if config.format == "jsonl":
        return record.to_json()
    if config.format == "fairseq":
        return record.to_fairseq()
    if config.format == "table":
        width = StyledConsole().width
        tables = [f"{table(item, width)}\n" for item in heat_maps(record)]
        return "\n".join([_as_text(record, config), *tables])
    return _as_text(record, config)


def _as_text(record: Record, config: GenerateConfig) -> str:
    """A record as one line of text for each output, or as a blank one."""
    if config.score_reference:
        lines = [f"{item.score:.4f}\t{record.reference}" for item in record.hypotheses]
    elif config.nbest == 1:
        lines = [record.text]
    else:
        lines = [f"{record.id}\t{item.score:.4f}\t{item.text}" for item in record.hypotheses]
    if config.print_alignment:
        lines = [f"{line}\t{item.pharaoh}" for line, item in zip(lines, record.hypotheses, strict=False)]
    return "\n".join(lines)


def answers_of_processes(
    make_engine: MakeEngine,
    config: GenerateConfig,
    lines: Iterable[Line],
    window: int,
    done: Callable[[int], object] = uncounted,
) -> Iterator[Record]:
    """The records that `answers` gives, computed in config.processes processes.

    make_engine: a function of a module, which each of them calls once.
    """
    workers = Workers(config.processes, _start, make_engine, config)
    stream = UntilBroken(lines)
    windows: deque[list[list[int]]] = deque()

    def batches() -> Iterator[list[Line]]:
        left = iter(stream)
        while chunk := list(islice(left, window)):
            # Each job has lines of all lengths, and so its share of the work; the engine sorts them.
            order = sorted(range(len(chunk)), key=lambda place: len(chunk[place].text))
            rounds = -(-len(chunk) // (_BATCHES_OF_A_JOB * config.batch_size * config.processes))
            jobs = min(rounds * config.processes, len(chunk))
            windows.append([order[job::jobs] for job in range(jobs)])
            yield from ([chunk[place] for place in places] for places in windows[-1])

    results = workers.map(_answer, batches())
    try:
        for first in results:
            found: dict[int, Record] = {}
            for number, places in enumerate(windows.popleft()):
                records = next(results) if number else first
                found |= zip(places, records, strict=True)
                done(len(places))
            yield from (found[place] for place in range(len(found)))
        stream.check()
    finally:
        workers.close()


_here: list[tuple[Engine, GenerateConfig]] = []


def _start(make_engine: MakeEngine, config: GenerateConfig) -> None:
    _here.append((make_engine(config), config))


def _answer(lines: list[Line]) -> list[Record]:
    engine, config = _here[0]
    return list(answers(engine, config, lines, window=len(lines)))
