"""Files that a repeated command goes on with, whatever has become of what an earlier one has left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from generating import SENTENCES, Generator, joined
from hostile import DEEP, WRONG, damaged, problem

from s2scli.inference.lines import Line
from s2scli.inference.output import open_output
from s2scli.inference.translator import Translator
from s2scli.record import Record

SETTINGS = {"beam": 5, "path": [["/a", 3]], "lenpen": 1.0}
LINES = [Line(number, f"line {number}") for number in range(6)]
EXPECTED = "".join(f"answer {number}\n" for number in range(6))


def write(path: Path, number: int = len(LINES), settings: Any = SETTINGS) -> None:
    """Answer lines into a file, and stop after so many of them, if there are more."""
    with open_output(path, settings, overwrite=False) as output:
        lines, again = output.skip(iter(LINES), 4)
        for place, line in enumerate(lines):
            if place < again:
                continue
            if line.id == number:
                raise KeyboardInterrupt
            output.write(Record(id=line.id, source=line.text), f"answer {line.id}")


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Where a file is to be of which four lines were made, after which the command was killed."""
    path = tmp_path / "out.txt"
    with pytest.raises(KeyboardInterrupt):
        write(path, 4)
    assert not path.exists()
    return path


def repeat(begun: Path, folder: Path, name: str, data: bytes) -> str:
    """What is wrong with how a repeated command ends where a file of what was begun holds other data."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(begun.parent, folder)
    (folder / f".{begun.name}.partial" / name).write_bytes(data)
    wrong = problem(lambda: write(folder / begun.name))
    written = folder / begun.name
    if not wrong and written.exists() and written.read_text() != EXPECTED:
        return f"wrote {written.read_text()!r}"
    return wrong


def test_settings_that_lie(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is no object is broken, and another value another setting."""
    folder = tmp_path_factory.mktemp("settings") / "copy"
    for value in WRONG:
        wrong = repeat(begun, folder, "settings.json", json.dumps(value).encode())
        assert wrong == "" or wrong.startswith("exit code 2: --output"), value
        assert not (folder / begun.name).exists()
        changed = json.dumps(SETTINGS | {"beam": value}).encode()
        wrong = repeat(begun, folder, "settings.json", changed)
        assert value in (5, DEEP) or wrong.startswith("exit code 2: --output"), value
        assert value is not DEEP or "nested more than" not in wrong
    for name, data in damaged(json.dumps(SETTINGS).encode(), 40):
        wrong = repeat(begun, folder, "settings.json", data)
        assert wrong == "" or wrong.startswith("exit code 2: --output"), name


@pytest.mark.parametrize("name", ["records", "output"])
def test_records_that_are_torn(begun: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """What is cut short is made anew; where a bit is flipped, the file is whole in the end or the command refuses."""
    folder = tmp_path_factory.mktemp("records") / "copy"
    data = (begun.parent / f".{begun.name}.partial" / name).read_bytes()
    cases = [*damaged(data, 60), ("twice as long", data * 2), ("ends", data + b"\xff" * 24)]
    for case, changed in cases:
        # Text that has been changed in its place is what was written, for all that anyone knows.
        if name == "output" and case.startswith("bit"):
            continue
        assert repeat(begun, folder, name, changed) == "", case


def test_a_resumed_output_has_the_same_batches(
    transformer: Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last digits of scores depend on what is in a batch: windows begin where they would have."""
    text, output = (
        joined([*SENTENCES[:9], " ".join(SENTENCES[9:13]), *SENTENCES[13:22]]),
        tmp_path / "out.jsonl",
    )
    settings: dict[str, Any] = {"format": "jsonl", "buffer_size": 6, "batch_size": 4, "on_long": "split"}
    windows: list[list[int]] = []
    window = Translator.translate_window

    def recorded(translator: Translator, lines: list[Line], *rest: Any) -> list[Record]:
        windows.append([line.id for line in lines])
        return window(translator, lines, *rest)

    monkeypatch.setattr(Translator, "translate_window", recorded)
    expected, whole = transformer(text, **settings), windows.copy()
    transformer.interrupted(text, after=14, output=output, **settings)
    partial = tmp_path / f".{output.name}.partial"
    assert len((partial / "output").read_text().splitlines()) == 12
    # As if it had been killed amid the writing of a window.
    data = (partial / "output").read_text().splitlines(keepends=True)
    (partial / "output").write_text("".join(data[:8]))
    windows.clear()
    transformer(text, output=output, **settings)
    assert output.read_text().splitlines() == expected
    assert windows == whole[1:]
