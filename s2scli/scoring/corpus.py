"""The texts that are scored: systems' outputs with their references and sources, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s2scli.configs.score import ScoreConfig
from s2scli.console import counted, warn
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError, UsageError
from s2scli.io import COMPRESSED, STDIN, input_name, read_lines
from s2scli.record import NOT_TEXT, VERSION, NotJSONError, read_json


@dataclass(frozen=True, kw_only=True)
class ScoredCorpus:
    """The outputs of each system, and what is parallel to them.

    references: of each kind one for every line, or None where it is missing; each line has one at least. sources: may
    be none. are_raw: whether the sources are lines as a user types them, without what a dataset puts around them.
    records: of each system the JSON records that its outputs are from, if they are from such.
    """

    names: tuple[str, ...]
    systems: tuple[list[str], ...]
    references: list[list[str | None]]
    sources: list[str]
    are_raw: bool = True
    records: tuple[list[dict[str, Any]], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.systems[0])

    def reference(self, line: int) -> str:
        """The first reference that a line has, or nothing."""
        return next((item[line] for item in self.references if item[line] is not None), None) or ""


def read_corpus(config: ScoreConfig, needs: frozenset[str]) -> ScoredCorpus:
    """Read all that the config names.

    needs: what must be there, "references" or "sources". Raises DataError where a file is empty, broken or not parallel
    to the others, UsageError where something is not given.
    """
    read = [_read_system(path, config) for path in config.sys]
    systems, records = tuple(texts for texts, _ in read), tuple(found for _, found in read)
    first = input_name(config.sys[0])
    for path, system in zip(config.sys, systems, strict=True):
        check_length(input_name(path), len(system), first, len(systems[0]))
    size = len(systems[0])
    dataset = Dataset.open(config.data) if config.data is not None else None
    split = dataset.split(config.gen_subset) if dataset is not None else None
    where = f"{config.data}: split {config.gen_subset}"
    if config.ref:
        references = [item for path in config.ref for item in _read_references(path, first, size)]
    elif dataset is not None and split is not None:
        references = [[*map(dataset.tokenizer("target").whole_words, split.texts("target"))]]
        check_length(where, len(references[0]), first, size)
    else:
        references = _recorded_references(records, config, "references" in needs)
    sources, are_raw = [], True
    if config.src is not None:
        sources = list(read_lines(config.src))
        check_length(input_name(config.src), len(sources), first, size)
    elif split is not None and "source" in split.text_columns:
        sources, are_raw = list(split.texts("source")), False
        check_length(where, len(sources), first, size)
    elif records[0] and all(isinstance(record.get("source"), str) for record in records[0]):
        sources, are_raw = [text_of(record["source"]) for record in records[0]], False
    if "sources" in needs and not sources:
        raise UsageError(
            "--src must be given: the sources, parallel to the system output; or a dataset folder, or JSON records"
        )
    return ScoredCorpus(
        names=_names(config.sys),
        systems=systems,
        references=_complete(references, [input_name(path) for path in config.ref] or [where]),
        sources=sources,
        are_raw=are_raw,
        records=records,
    )


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """What systems are called: their file's name, or all of its path where two have one name."""
    short = [text_of(path.name) if path != STDIN else "-" for path in paths]
    if len(set(short)) == len(short):
        return tuple(short)
    full = [text_of(str(path)) for path in paths]
    return tuple(
        f"{name} ({place})" if full.count(name) > 1 else name for place, name in enumerate(full, start=1)
    )


def check_length(name: str, length: int, system: str, segments: int) -> None:
    """Say where something is not parallel to the system output."""
    if length != segments:
        raise DataError(
            f"{system} has {counted(segments, 'line')} but {name} has {length}; they must be parallel"
        )


def text_of(value: str) -> str:
    """A text without what JSON can hold and a line cannot."""
    return NOT_TEXT.sub("\ufffd", value)


def is_jsonl(path: Path) -> bool:
    """Whether a file has JSON records by its name, compressed or not."""
    plain = path.with_suffix("") if path.suffix in COMPRESSED else path
    return plain.suffix == ".jsonl"


def _read_system(path: Path, config: ScoreConfig) -> tuple[list[str], list[dict[str, Any]]]:
    """The outputs of a system, and the records that they are from, if they are."""
    lines = list(read_lines(path))
    name = input_name(path)
    if not lines:
        raise DataError(f"{name}: the system output is empty")
    if config.sys_format == "text" or (config.sys_format == "auto" and not is_jsonl(path)):
        return lines, []
    records = [_parse_record(line, f"{name}:{number}") for number, line in enumerate(lines, start=1)]
    return [record["text"] for record in records], records


def parse(line: str, where: str, remedy: str) -> Any:
    """A line of JSON; DataError with the place and the remedy where it is none."""
    try:
        return read_json(line)
    except NotJSONError as error:
        raise DataError(f"{where}: the line {error}; {remedy}") from None
    except RecursionError:
        raise DataError(f"{where}: the line's JSON is nested too deeply; {remedy}") from None


def _parse_record(line: str, where: str) -> dict[str, Any]:
    record = parse(line, where, "for plain lines give --sys-format text")
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise DataError(f'{where}: the record has no field "text"')
    if record.get("version", VERSION) != VERSION:
        raise DataError(f"{where}: the record is of version {record['version']}; this s2s reads {VERSION}")
    return {**record, "text": text_of(record["text"])}


def _recorded_references(
    records: Sequence[list[dict[str, Any]]], config: ScoreConfig, is_needed: bool
) -> list[list[str | None]]:
    """The references in the records, which must be the same for every system."""
    found = [[record.get("reference") for record in system] for system in records]
    kept = [[text_of(item) for item in system if isinstance(item, str)] for system in found]
    whole = [place for place, system in enumerate(kept) if system and len(system) == len(records[place])]
    if not whole:
        if not is_needed:
            return []
        if not records[0]:
            raise UsageError(
                "--ref must be given: reference files, parallel to the system output; or a dataset folder"
            )
        lacking, name = len(records[0]) - len(kept[0]), input_name(config.sys[0])
        raise UsageError(f"--ref must be given: {lacking} records of {name} hold no reference")
    for place in whole[1:]:
        for line, (one, other) in enumerate(zip(kept[whole[0]], kept[place], strict=True), start=1):
            if one != other:
                raise DataError(
                    f"{input_name(config.sys[place])}:{line}: has another reference than "
                    f"{input_name(config.sys[whole[0]])}; give --ref"
                )
    return [[*kept[whole[0]]]]


def _read_references(path: Path, system: str, segments: int) -> list[list[str | None]]:
    """The references of a file, by kind: one of text, as many of JSON lines as the longest list has."""
    lines, name = list(read_lines(path)), input_name(path)
    if not any(line.strip() for line in lines):
        raise DataError(f"{name}: the reference is empty")
    check_length(name, len(lines), system, segments)
    if not is_jsonl(path):
        return [[*lines]]
    parsed = [_parse_references(line, f"{name}:{number}") for number, line in enumerate(lines, start=1)]
    longest = max(map(len, parsed))
    return [[item[place] if place < len(item) else None for item in parsed] for place in range(longest)]


def _parse_references(line: str, where: str) -> list[str]:
    value = parse(line, where, "each line has a list of references")
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = value.get("references", value.get("reference", lists[0] if len(lists) == 1 else None))
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(item, str) for item in texts):
        raise DataError(
            f'{where}: wanted a list of texts, or a record with "references", a list of texts, "reference", a text, '
            "or one list of texts under another name"
        )
    return [text_of(item) for item in texts]


def _complete(references: list[list[str | None]], names: Sequence[str]) -> list[list[str | None]]:
    """Take blank lines out where a line has other references; say where one has none at all."""
    if not references:
        return references
    is_several = len(references) > 1
    blank = [
        line
        for line, items in enumerate(zip(*references, strict=True))
        if not any(item and item.strip() for item in items)
    ]
    if blank:
        warn(
            f"{', '.join(names)}: {counted(len(blank), 'line')} without a reference, the first of them line "
            f"{blank[0] + 1}; an empty one counts there"
        )
    if not is_several:
        return references
    completed = [[item if item and item.strip() else None for item in kind] for kind in references]
    for line in blank:
        completed[0][line] = ""
    return completed
