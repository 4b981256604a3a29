"""From lines to records in several processes, each with the model and threads of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from s2scli.configs.generate import GenerateConfig
from s2scli.console import uncounted
from s2scli.errors import S2SError
from s2scli.garbage import no_search_of_what_is_loaded
from s2scli.inference.input import UntilBroken
from s2scli.inference.lines import Line
from s2scli.inference.translator import Translator
from s2scli.record import Record
from s2scli.workers import Workers

# A process is given so many batches of lines at most, so that those that take long can be set aside for a while.
_BATCHES_OF_A_JOB = 8

MakeTranslator = Callable[[GenerateConfig], Translator]


def records_of_processes(
    make_translator: MakeTranslator,
    config: GenerateConfig,
    lines: Iterable[Line],
    window: int,
    done: Callable[[int], object] = uncounted,
) -> Iterator[Record]:
    """The records that `Translator.records` gives, computed in config.processes processes.

    make_translator: a function of a module, which each of them calls once.
    """
    workers = Workers(config.processes, _start, make_translator, config)
    stream = UntilBroken(lines)
    windows: deque[list[list[int]]] = deque()

    def batches() -> Iterator[list[Line]]:
        left = iter(stream)
        while chunk := list(islice(left, window)):
            # Each job has lines of all lengths, and so its share of the work; the translator sorts them.
            order = sorted(range(len(chunk)), key=lambda index: len(chunk[index].text))
            rounds = -(-len(chunk) // (_BATCHES_OF_A_JOB * config.batch_size * config.processes))
            jobs = min(rounds * config.processes, len(chunk))
            windows.append([order[job::jobs] for job in range(jobs)])
            yield from ([chunk[index] for index in indices] for indices in windows[-1])

    results = workers.map(_answer, batches())
    try:
        for first in results:
            found: dict[int, Record | S2SError] = {}
            for number, indices in enumerate(windows.popleft()):
                records = next(results) if number else first
                found |= zip(indices, records, strict=True)
                done(len(indices))
            for index in range(len(found)):
                record = found[index]
                if isinstance(record, S2SError):
                    raise record
                yield record
        stream.check()
    finally:
        workers.close()


# In a process of `records_of_processes` its translator.
_here: list[Translator] = []


def _start(make_translator: MakeTranslator, config: GenerateConfig) -> None:
    _here.append(make_translator(config))


def _answer(lines: list[Line]) -> list[Record | S2SError]:
    """The records of some lines, and for one that is refused why."""
    with no_search_of_what_is_loaded():
        try:
            return [*_here[0].records(lines, window=len(lines))]
        except S2SError:
            return [answer for line in lines for answer in _answer_alone(line)]


def _answer_alone(line: Line) -> list[Record | S2SError]:
    try:
        return [*_here[0].records([line], window=1)]
    except S2SError as error:
        return [error]
