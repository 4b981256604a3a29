"""Text that comes in odd ways: through pipes, compressed, without an end, in other encodings, as JSON that is none."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import resource
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from s2scli.cli.app import run as run_command
from s2scli.errors import DataError, UsageError
from s2scli.io import LONGEST_LINE, STDIN, count_lines, open_input, read_lines, read_raw_lines
from s2scli.record import Hypothesis, NotJSONError, Record, read_json, to_json_text
from s2scli.streams import Messages, Results

TEXT = b"ba be\n\nbi\n"


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Standard input that a test fills."""
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(content)))  # type: ignore[type-var]
    return content


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_compressed_data_is_known_by_how_it_begins(
    compress: object, tmp_path: Path, standard_input: io.BytesIO
) -> None:
    assert callable(compress)
    path = tmp_path / "text"
    path.write_bytes(compress(TEXT))
    assert b"".join(read_raw_lines(path)) == TEXT
    assert count_lines(path) == (3, True)
    standard_input.write(compress(TEXT))
    standard_input.seek(0)
    assert [*read_lines(STDIN)] == ["ba be", "", "bi"]
    path.write_bytes(compress(TEXT)[:-5])
    with pytest.raises(DataError, match="broken compressed data"):
        [*read_raw_lines(path)]


def test_standard_input_is_read_once(standard_input: io.BytesIO, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_input(STDIN):
        pass
    with pytest.raises(UsageError, match=r"standard input .* is named twice"), open_input(STDIN):
        pass
    assert run_command(["score", "--sys", "-", "--ref", "-"]) == 2
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input: is closed"), open_input(STDIN):
        pass
    del standard_input


def test_a_line_that_never_ends_is_an_error_that_names_it(tmp_path: Path) -> None:
    limit = LONGEST_LINE + (300 << 20)
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, before[1]))
    try:
        for read in (lambda path: [*read_raw_lines(path)], count_lines):
            with pytest.raises(DataError, match=r"^/dev/zero:1: the line is longer than 64 MB"):
                read(Path("/dev/zero"))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    path = tmp_path / "text.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(b"short\n")
        for _ in range(65):
            stream.write(bytes(1 << 20))
    for read in (lambda path: [*read_raw_lines(path)], count_lines):
        with pytest.raises(DataError, match=r"text.gz:2: the line is longer than 64 MB"):
            read(path)


@pytest.mark.parametrize(
    "words",
    [
        ["score", "--sys", "/dev/zero", "--ref", "/dev/zero"],
        ["plot", "/dev/zero"],
        ["train", "data", "--config", "/dev/zero"],
        ["inspect", "/dev/zero"],
        ["generate", "--path", "/dev/zero"],
        ["preprocess", "--train-file", "/dev/zero", "--input-format", "tsv", "--destdir", "data"],
        ["preprocess", "--trainpref", "a", "--source-lang", "x", "--target-lang", "y", "--destdir", "data",
         "--vocab-from", "/dev/zero"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_an_endless_file_is_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for ending in "xy":
        (tmp_path / f"a.{ending}").write_text("ba\n" * 9, encoding="utf-8")
    code = run_command(words)
    *_, line = capsys.readouterr().err.splitlines()
    assert code in (1, 2)
    assert "/dev/zero" in line
    assert "internal" not in line
    assert not [*tmp_path.glob("*data*")], "nothing of it is left on the disk"


def test_a_pipe_may_be_training_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipes = [tmp_path / "train.a", tmp_path / "train.b"]
    for pipe, text in zip(pipes, ("ba be\nbi\n", "be ba\nbi\n"), strict=True):
        os.mkfifo(pipe)
        threading.Thread(target=pipe.write_text, args=(text,), daemon=True).start()
    words = [
        "--source-lang",
        "a",
        "--target-lang",
        "b",
        "--tokenizer",
        "word",
        "--filter-duplicates",
        "pairs",
    ]
    destination = tmp_path / "data"
    assert (
        run_command(
            ["preprocess", "--trainpref", str(tmp_path / "train"), *words, "--destdir", str(destination)]
        )
        == 0
    )
    assert "train: 2 pairs" in capsys.readouterr().err
    assert not [*destination.glob("input*")]


def test_lines_that_end_with_carriage_returns_alone_are_said(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"ba\rbe\r")
    with pytest.raises(DataError, match=r"text: its lines end with carriage returns alone; .*tr"):
        [*read_raw_lines(path)]
    assert count_lines(path)[1] is False
    for kept in (b"ba\r\nbe\r\n", b"ba\rbe\nbi", b"ba\r"):
        path.write_bytes(kept)
        assert b"".join(read_raw_lines(path)) == kept


@pytest.mark.parametrize(
    ("encoding", "wanted"), [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE")]
)
def test_utf_16_is_known(
    encoding: str, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text"
    path.write_bytes("some words\nmore\n".encode(encoding))
    with pytest.raises(DataError, match=f"text:1: .*looks like UTF-16; .*iconv -f {wanted} -t UTF-8$"):
        [*read_lines(path)]
    [*read_lines(path, replace=True)]
    assert f"iconv -f {wanted} -t UTF-8" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize(
    "text",
    ["Infinity", "-Infinity", "NaN", "1e999", "-1E+0400", '[{"a": [1e99999]}]', "9" * 5000, "{", '"\n"'],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(NotJSONError):
        read_json(text)


def test_json_that_is_written_is_json_for_every_reader() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    values = {"a": [1.5, float("inf")], "b": {"c": float("nan"), "d": (-float("inf"), "\ud83d", "ä\x7f")}}
    for indent in (None, 1):
        text = to_json_text(values, indent)
        text.encode()
        found = json.loads(text, parse_constant=refuse)
        assert found == {"a": [1.5, None], "b": {"c": None, "d": [None, "\ud83d", "ä\x7f"]}}
    assert read_json('{"a": 1e308, "b": 1e-999}') == {"a": 1e308, "b": 0.0}
    best = Hypothesis(text="a", score=-float("inf"), tokens=["a"], token_scores=[float("nan")])
    found = json.loads(Record(id=0, source="b", hypotheses=[best]).to_json(), parse_constant=refuse)
    assert (found["score"], found["token_scores"]) == (None, [None])


@pytest.mark.parametrize("policy", ["error", "replace", "skip"])
@pytest.mark.parametrize("field", ["source", "target", "tag"])
def test_half_a_character_in_json_is_broken_text(
    field: str, policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {"source": "ba", "target": "be", "tag": "x"}
    broken = whole | {field: whole[field] + "\ud83d"}
    path = tmp_path / "text.jsonl"
    path.write_text("".join(f"{json.dumps(item)}\n" for item in (broken, *[whole] * 9)), encoding="ascii")
    words = [
        "--train-file",
        str(path),
        "--tag-field",
        "tag",
        "--tokenizer",
        "word",
        "--encoding-errors",
        policy,
    ]
    code = run_command(
        ["preprocess", *words, "--destdir", str(tmp_path / "data"), "--filter-duplicates", "pairs"]
    )
    error = capsys.readouterr().err
    if policy == "error":
        assert f"{path}:1: the line's text holds NUL or half of a character" in error
        assert code == 1
    else:
        assert code == 0
        assert (
            f"train: {2 if (policy, field) in (('replace', 'source'), ('replace', 'target')) else 1} pair"
            in error
        )


def test_lines_of_fairseqs_form_are_as_many_as_the_sources() -> None:
    spelled = Record(id=3, source="").to_fairseq().split("\n")
    assert spelled == ["S-3\t", "H-3\t0.0\t", "D-3\t0.0\t", "P-3\t"]


def test_messages_that_nobody_reads_end_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    closed = os.dup(full)
    os.close(closed)
    for descriptor in (writing, full, closed):
        messages = Messages(descriptor)
        assert messages.write("a notice\n") == 9
        print("another", file=messages, flush=True)
    os.close(writing)
    os.close(full)


def test_results_that_cannot_be_written_are_said() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    results = Results(writing)
    with pytest.raises(BrokenPipeError):
        print("a result", file=results, flush=True)
    results.flush()
    with pytest.raises(BrokenPipeError):
        results.write("more")
    full = os.open("/dev/full", os.O_WRONLY)
    results = Results(full)
    with pytest.raises(Exception, match="standard output: cannot write: No space left on device"):
        print("a result", file=results, flush=True)


def test_streams_are_utf8_and_names_of_files_stay_what_they_are() -> None:
    reading, writing = os.pipe()
    for stream in (Results(writing), Messages(writing)):
        print("→ ä n\udcff \ud83d", file=stream, flush=True)
        assert os.read(reading, 100) == "→ ä n".encode() + b"\xff \xef\xbf\xbd\n"
