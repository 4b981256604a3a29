"""Output files of `generate` that a repeated command goes on with, after an interruption or a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from generating import SENTENCES, Generator, assert_same_records, joined
from toys import TRANSFORMER, Trainer, write_dataset

from s2scli.errors import DataError, S2SError, UsageError
from s2scli.locks import locked


def partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


FORMATS = [
    {},
    {"format": "jsonl"},
    {"nbest": 3, "beam": 3},
    {"format": "fairseq", "nbest": 2, "beam": 3},
]


@pytest.mark.parametrize("settings", FORMATS)
def test_an_interrupted_output_is_gone_on_with(
    transformer: Generator, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Whatever the format, and whatever was torn; what it ends with is what standard output would have had."""
    text, output = joined([*SENTENCES[:4], "", *SENTENCES[4:9]]), tmp_path / "out"
    # Alone, so that the last digits are the same too.
    settings = settings | {"batch_size": 1}
    expected = joined(transformer(text, **settings))
    stop = transformer.interrupted(text, 7, output=output, **settings)
    assert str(stop) == "interrupted after 6 lines; repeat the command to go on"
    assert stop.exit_code == 130
    assert not output.exists()
    begun = (partial(output) / "output").read_bytes()
    assert begun
    assert expected.encode().startswith(begun)
    # The last record loses its end, and what was written of the one after it is there without its place.
    for torn in (begun[:-3], begun + b"ba b", begun):
        (partial(output) / "output").write_bytes(torn)
        records = (partial(output) / "records").read_bytes()
        (partial(output) / "records").write_bytes(records + b"\1\2")
        stop = transformer.interrupted(text, 8, output=output, **settings)
        assert "going on after line" in transformer.capsys.readouterr().err
        assert expected.encode().startswith((partial(output) / "output").read_bytes())
    assert transformer(text, output=output, **settings) == []
    assert "going on after line 8" in transformer.errors
    assert output.read_text() == expected
    assert not partial(output).exists()
    assert list(tmp_path.iterdir()) == [output]


def test_what_was_done_is_not_done_again(transformer: Generator, tmp_path: Path) -> None:
    text, output = joined(SENTENCES[:9]), tmp_path / "out"
    transformer.interrupted(text, 7, output=output)
    done = (partial(output) / "output").read_text().splitlines()
    (partial(output) / "output").write_text(joined([line.upper() for line in done]))
    transformer(text, output=output)
    lines = output.read_text().splitlines()
    assert lines[:6] == [line.upper() for line in done]
    assert lines[6:] == transformer(text)[6:]


def test_a_killed_output_is_gone_on_with(transformer: Generator, tmp_path: Path) -> None:
    """The command itself, killed without a chance to do anything."""
    words = ["generate", "--path", str(transformer.path), "--max-len-b", "20", "--buffer-size", "1"]
    text, output = joined(SENTENCES), tmp_path / "out"
    command = [sys.executable, "-m", "s2scli", *words, "--output", str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(joined(SENTENCES[:9]).encode())
        process.stdin.flush()
        records = partial(output) / "records"
        while process.poll() is None and not (records.exists() and records.stat().st_size):
            os.sched_yield()
        process.kill()
        process.stdin.close()
    transformer(text, output=output, max_len_a=0.0, max_len_b=20)
    assert "going on after line" in transformer.errors
    assert output.read_text().splitlines() == transformer(text, max_len_a=0.0, max_len_b=20)


def test_an_output_goes_on_only_with_what_it_was_begun_with(transformer: Generator, tmp_path: Path) -> None:
    text, output = joined(SENTENCES[:9]), tmp_path / "out"
    transformer.interrupted(text, 5, output=output)
    transformer.capsys.readouterr()
    with pytest.raises(UsageError, match=r"made with other settings \(beam 5, now 4\); .*--overwrite"):
        transformer(text, output=output, beam=4)
    with pytest.raises(UsageError, match=r'other settings \(path \[\["'):
        transformer(text, output=output, path=transformer.path / "checkpoint10.safetensors")
    with pytest.raises(DataError, match="line 2 of the input is not what it was"):
        transformer(text.replace(SENTENCES[1], "ba"), output=output)
    with pytest.raises(DataError, match="4 lines of it made, but the input has 2"):
        transformer(joined(SENTENCES[:2]), output=output)
    # None of these has done it harm, and how fast it goes is free.
    transformer(text, output=output, batch_size=1, buffer_size=5)
    assert "going on after line 4" in transformer.errors
    assert output.read_text().splitlines() == transformer(text)
    transformer.interrupted(text, 5, output=output)
    transformer(text, output=output, beam=2, overwrite=True)
    assert "going on" not in transformer.errors
    assert output.read_text().splitlines() == transformer(text, beam=2)


def test_where_an_output_may_be(transformer: Generator, tmp_path: Path) -> None:
    text = joined(SENTENCES[:2])
    assert transformer(text, output="-") == transformer(text)
    assert transformer(text, output="/dev/null") == []
    with pytest.raises(UsageError, match="is a folder, not a file"):
        transformer(text, output=tmp_path)
    with pytest.raises(DataError, match="no such file"):
        transformer("", input=tmp_path / "none", output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with (
        locked(partial(tmp_path / "out"), ""),
        pytest.raises(S2SError, match="is at work in this folder; wait"),
    ):
        transformer(text, output=tmp_path / "out")
    with pytest.raises(S2SError, match="/dev/full: cannot write: No space left on device"):
        transformer(text, output="/dev/full")
    assert list(tmp_path.iterdir()) == []
    # A finished one is made anew, and stays as it is until then.
    transformer(text, output=tmp_path / "deep" / "out")
    transformer(joined(SENTENCES[:1]), output=tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out").read_text().splitlines() == transformer(joined(SENTENCES[:1]))


@pytest.mark.parametrize("window", [0, 3])
def test_the_scores_of_a_language_models_lines_are_gone_on_with(
    generating: Callable[[Path], Generator], other_runs: Path, tmp_path: Path, window: int
) -> None:
    model, output = generating(other_runs / "lm"), tmp_path / "out"
    lines = [{"source": SENTENCES[0]}, {"source": SENTENCES[1], "reference": SENTENCES[2]}]
    text = joined([*map(json.dumps, lines), *(json.dumps({"source": line}) for line in SENTENCES[2:9])])
    settings: dict[str, Any] = {
        "score_reference": True,
        "context_window": window,
        "input_format": "jsonl",
        "format": "jsonl",
        "batch_size": 1,
    }
    expected = model(text, **settings)
    model.interrupted(text, 6, output=output, **settings)
    model(text, output=output, **settings)
    assert "going on after line" in model.errors
    assert output.read_text().splitlines() == expected
    other = text.replace(SENTENCES[2], "ba", 1)
    output.unlink()
    model.interrupted(text, 6, output=output, **settings)
    with pytest.raises(DataError, match="line 2 of the input is not what it was"):
        model(other, output=output, **settings)


def test_context_reaches_over_an_interruption(transformer: Generator, tmp_path: Path) -> None:
    data = write_dataset(tmp_path, source_tag=("<2bb>",), context_lines=2, max_source_length=20)
    Trainer(data, tmp_path)("run", **TRANSFORMER, max_update=1)
    settings = {"path": tmp_path / "run", "source_tag": "<2bb>", "format": "jsonl"}
    text, output = joined(SENTENCES[:8]), tmp_path / "out"
    expected = transformer(text, **settings)
    transformer.interrupted(text, 5, output=output, **settings)
    transformer(text, output=output, **settings)
    assert_same_records(output.read_text().splitlines(), expected)
    source = json.loads(expected[4])["source"]
    assert source == f"<2bb> {SENTENCES[2]} <sep> {SENTENCES[3]} <sep> {SENTENCES[4]}"
    # So it does over the shards.
    shards = [transformer(text, num_shards=3, shard_id=number, **settings) for number in range(3)]
    assert_same_records([shards[number % 3][number // 3] for number in range(8)], expected)
