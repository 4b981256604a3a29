"""The text in a field of a JSON record, and why a line is no record."""

from __future__ import annotations

from typing import Any

from s2scli.data.dialogue import one_line
from s2scli.record import NotJSONError


def text_field(record: Any, name: str) -> str:
    """The text of a JSON record's field, a.b for one within another; KeyError or TypeError where there is none."""
    value, called = record, "JSON"
    for key in name.split("."):
        if not isinstance(value, dict):
            raise TypeError(f"{called} is no object")
        value, called = value[key], key
    if not isinstance(value, str):
        raise TypeError(f"{name} is not text")
    return one_line(value)


def why_no_record(error: Exception, layout: str) -> str:
    """Why a line is no record with both sides, from the error of reading it; layout: "tsv", or one of JSON."""
    if layout == "tsv":
        return "the line has too few columns"
    if isinstance(error, NotJSONError):
        return f"the line {error}"
    if isinstance(error, RecursionError):
        return "the line's JSON is nested too deeply"
    return f"the line has no text field {error}" if isinstance(error, KeyError) else f"the line's {error}"
