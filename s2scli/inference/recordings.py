"""Reading which recordings, or matrices of features, are to be transcribed: paths, or JSON records that name them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from s2scli.errors import DataError
from s2scli.features.extraction import Utterance
from s2scli.inference.input import phrases_of
from s2scli.inference.lines import Line
from s2scli.record import NOT_TEXT, read_json

# Fields that name the file, or files, of a source; those of others go into the output.
_FIELDS = ("audio", "features", "image")
_WANTED = 'wanted: {"audio": "a.wav"}, or several paths in a list, with "start" and "end" in seconds where it is a part'


def path_lines(texts: Iterable[str]) -> Iterator[Line]:
    """Lines of text of which each is the path of a recording or matrix, relative to the working directory."""
    for number, text in enumerate(texts):
        yield Line(number, text.strip())


def recording_line(data: bytes, name: str) -> Line:
    """The line for the contents of a file that is one recording; name: what its record and messages call it."""
    return Line(0, name, features=Utterance(references=(name,), data=data))


def only_within(lines: Iterable[Line], folder: Path, name: str) -> Iterator[Line]:
    """Lines that name files, none of which is outside of a folder; DataError has the text's name and the line.

    So what others send cannot make a server open any file of its machine.
    """
    folder = folder.resolve()
    for line in lines:
        wanted = line.features if isinstance(line.features, Utterance) else Utterance(references=(line.text,))
        # Several names may stand in one.
        for path in (part for name in wanted.references for part in (name, *name.split())):
            if not (folder / path).resolve().is_relative_to(folder):
                raise DataError(
                    f"{name}:{line.id + 1}: {path}: is not in the folder that the server runs in; send the recording "
                    "itself, as audio/wav"
                )
        yield line


def file_lines(paths: Iterable[Path]) -> Iterator[Line]:
    """A line for each of some files."""
    return path_lines(map(str, paths))


def recording_records(texts: Iterable[str], name: str) -> Iterator[Line]:
    """The records of a text, one a line; field "audio", "features" or "image" is a path, or paths that are joined.

    Numbers "start" and "end", seconds, cut a part out of one file; "reference" is what was said. Raises DataError, with
    the text's name and the line, for one that is no such record.
    """
    for number, text in enumerate(texts):
        try:
            record = read_json(text)
            if not isinstance(record, dict):
                raise TypeError("JSON is no object")
            found = next((record[name] for name in _FIELDS if name in record), None)
            audio = tuple(found) if isinstance(found, list) else (found,)
            if not audio or not all(isinstance(path, str) and not NOT_TEXT.search(path) for path in audio):
                raise TypeError("field audio is no path, nor a list of them")
            constraints, excluded = (phrases_of(record, field) for field in ("constraints", "exclude"))
            reference = record.get("reference")
            if reference is not None and not isinstance(reference, str):
                raise TypeError("field reference is no text")
            utterance = Utterance(
                references=audio, start=_seconds(record, "start"), end=_seconds(record, "end")
            )
        except RecursionError:
            raise DataError(f"{name}:{number + 1}: the line's JSON is nested too deeply") from None
        except (ValueError, TypeError) as error:
            raise DataError(f"{name}:{number + 1}: the line's {error}; {_WANTED}") from None
        yield Line(number, " ".join(audio), reference, record, constraints, excluded, features=utterance)


def _seconds(record: dict[str, Any], field: str) -> float | None:
    """A field that is a number of seconds, or is not there."""
    value = record.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise TypeError(f"field {field} is no number of seconds")
    return float(value)
