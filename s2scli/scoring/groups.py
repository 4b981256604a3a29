"""The groups that scores are broken down by: labels of lines, from a column or from fields of JSON records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s2scli.configs.score import ScoreConfig
from s2scli.console import counted
from s2scli.errors import DataError, UsageError, did_you_mean
from s2scli.io import input_name, read_lines
from s2scli.scoring.corpus import ScoredCorpus, check_length, is_jsonl, parse, text_of

Groups = dict[str, list[str]]
"""What the groups are of, and the label of each line."""
# What breakdowns by length are called.
_TAKEN = "length"


def read_groups(config: ScoreConfig, corpus: ScoredCorpus) -> Groups:
    """The groups that the config asks for, by the name of their column or field, in the order in which it is given.

    Raises DataError where a file is not parallel to the outputs or has no label somewhere; UsageError where there is no
    such column.
    """
    if config.groups is None:
        if not config.group_by:
            return {}
        if not corpus.records[0]:
            raise UsageError(
                "--group-by: names columns of --groups FILE, or fields of JSON records; give one of these"
            )
        return _of_records(corpus.records[0], config.group_by, input_name(config.sys[0]))
    lines, name = list(read_lines(config.groups)), input_name(config.groups)
    if not is_jsonl(config.groups):
        return _of_columns(lines, config, len(corpus))
    check_length(name, len(lines), input_name(config.sys[0]), len(corpus))
    records = [
        parse(line, f"{name}:{number}", "each line has a record")
        for number, line in enumerate(lines, start=1)
    ]
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f"{name}:{number}: not a record with fields")
    if not config.group_by:
        raise UsageError(f"--group-by must name fields of {name}: {', '.join(map(text_of, records[0]))}")
    return _of_records(records, config.group_by, name)


def _of_records(records: Sequence[Mapping[str, Any]], fields: Sequence[str], name: str) -> Groups:
    """The values of fields; numbers and such as JSON writes them."""
    found: Groups = {}
    for field in fields:
        labels = []
        for number, record in enumerate(records, start=1):
            value = record.get(field)
            if field not in record or isinstance(value, list | dict):
                known = did_you_mean(field, [*record]) if field not in record else ", but a list or a record"
                raise DataError(f"{name}:{number}: the record has no label {text_of(field)!r}{known}")
            labels.append(text_of(value if isinstance(value, str) else json.dumps(value)))
        found[_kind(field)] = labels
    return found


def _of_columns(lines: list[str], config: ScoreConfig, segments: int) -> Groups:
    """The columns of a file: all, or those asked for by name or number. A line too many names them."""
    assert config.groups is not None
    name = input_name(config.groups)
    rows = [line.split("\t") for line in lines]
    is_named = len(rows) == segments + 1 and (len(rows[0]) > 1 or config.groups.suffix == ".tsv")
    check_length(name, len(rows) - is_named, input_name(config.sys[0]), segments)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{name}:{number}: {counted(len(row), 'column')}, where the first line has {len(rows[0])}"
            )
    if is_named:
        names = rows.pop(0)
    elif len(rows[0]) == 1:
        names = [_label_of_file(config.groups)]
    else:
        names = [f"{_label_of_file(config.groups)} column {number}" for number in range(1, len(rows[0]) + 1)]
    if len({*names}) < len(names):
        raise DataError(f"{name}:1: names a column twice: {', '.join(names)}")
    columns = {column: [*labels] for column, labels in zip(names, zip(*rows, strict=True), strict=True)}
    numbered = {str(number): column for number, column in enumerate(names, start=1)}
    asked = config.group_by or names
    for column in asked:
        if column not in columns and column not in numbered:
            raise UsageError(
                f"--group-by {column}: no such column in {name}{did_you_mean(column, names)}; it has {', '.join(names)}"
            )
    chosen = [column if column in columns else numbered[column] for column in asked]
    return {_kind(column): columns[column] for column in chosen}


def _label_of_file(path: Path) -> str:
    return text_of(path.name)


def _kind(name: str) -> str:
    """What the groups are called, which must not be what breakdowns by length are."""
    return f"{name} (group)" if name == _TAKEN else text_of(name)
