"""TOML as config files have it: read, with what is wrong with a file in one line, and written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2scli.errors import DataError, UsageError
from s2scli.files import read_small
from s2scli.io import write_atomically

# The decimal digits of the longest whole number that is read and written as such.
MOST_DIGITS = 400
# Bytes; a config file of all settings has a hundredth of it.
_LARGEST_CONFIG = 1 << 20


def to_toml(values: Mapping[str, Any]) -> str:
    """Write scalars, lists and one level of tables as TOML."""
    scalars = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {toml_value(value)}" for key, value in scalars.items()]
    for name, table in values.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def write_toml(path: Path, values: Mapping[str, Any]) -> None:
    """Write a config file, which appears when it is whole; bytes of names that are no UTF-8 become question marks."""
    with write_atomically(path) as temporary:
        temporary.write_text(to_toml(values), encoding="utf-8", errors="replace")


def toml_value(value: Any) -> str:
    """Write a value in one line: a scalar, a list or an inline table."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > MOST_DIGITS:
        return hex(value)  # Python refuses to write some thousand digits out
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + "}"
    # A JSON string is a TOML basic string but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; UsageError names the file and the line if it cannot be read."""
    try:
        return tomllib.loads(read_small(path, _LARGEST_CONFIG).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the config file: {error.strerror}") from None
    except DataError as error:
        raise UsageError(str(error)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}: not a TOML file: line {line} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        hint = "; YAML's key: value is key = value here" if path.suffix.lower() in (".yaml", ".yml") else ""
        raise UsageError(f"{path}: not a TOML file: {error}{hint}") from None
    except (ValueError, RecursionError):
        raise UsageError(
            f"{path}: not a TOML file: a number of thousands of digits, or lists within lists"
        ) from None
