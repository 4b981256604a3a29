"""`generate` between other programs: files that are gone on with, formats, long lines, shards, signals, broken text."""

from __future__ import annotations

import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_generate import SENTENCES, Generator, joined, limited
from toys import TRANSFORMER, Trainer, write_dataset

from s2scli.cli.app import run as run_command
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import DataError, Interrupted, S2SError, UsageError
from s2scli.generate import generate
from s2scli.inference.long_lines import split_line
from s2scli.locks import locked
from s2scli.schema import build


@pytest.fixture
def run(toy_runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Generator:
    return Generator(toy_runs / "transformer", capsys, monkeypatch)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and so would all that is started here."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


class Interrupting(io.BytesIO):
    """Text that comes with a signal after some lines."""

    def __init__(self, text: str, after: int, number: int = signal.SIGINT) -> None:
        super().__init__(text.encode())
        self.after, self.number = after, number

    def readline(self, size: int | None = -1, /) -> bytes:
        if self.after == 0:
            signal.raise_signal(self.number)
        self.after -= 1
        return super().readline(size)


@pytest.fixture
def interrupt(run: Generator) -> Any:
    """Runs generate on some text, and interrupts it after some lines."""

    def interrupted(text: str, after: int, number: int = signal.SIGINT, **settings: Any) -> Interrupted:
        run.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupting(text, after, number)))
        values = {"path": run.path, "device": "cpu", "max_len_a": 1.0, "max_len_b": 5, "buffer_size": 2}
        with pytest.raises(Interrupted) as raised:
            generate(build(GenerateConfig, values | settings))
        return raised.value

    return interrupted


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
    run: Generator, interrupt: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Whatever the format, and whatever was torn; what it ends with is what standard output would have had."""
    text, output = joined([*SENTENCES[:4], "", *SENTENCES[4:9]]), tmp_path / "out"
    # Alone, so that the last digits are the same too.
    settings = settings | {"batch_size": 1}
    expected = joined(run(text, **settings))
    stop = interrupt(text, 7, output=output, **settings)
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
        stop = interrupt(text, 8, output=output, **settings)
        assert "going on after line" in run.capsys.readouterr().err
        assert expected.encode().startswith((partial(output) / "output").read_bytes())
    assert run(text, output=output, **settings) == []
    assert "going on after line 8" in run.errors
    assert output.read_text() == expected
    assert not partial(output).exists()
    assert list(tmp_path.iterdir()) == [output]


def test_what_was_done_is_not_done_again(run: Generator, interrupt: Any, tmp_path: Path) -> None:
    text, output = joined(SENTENCES[:9]), tmp_path / "out"
    interrupt(text, 7, output=output)
    done = (partial(output) / "output").read_text().splitlines()
    (partial(output) / "output").write_text(joined([line.upper() for line in done]))
    run(text, output=output)
    lines = output.read_text().splitlines()
    assert lines[:6] == [line.upper() for line in done]
    assert lines[6:] == run(text)[6:]


def test_a_killed_output_is_gone_on_with(run: Generator, tmp_path: Path) -> None:
    """The command itself, killed without a chance to do anything."""
    words = ["generate", "--path", str(run.path), "--max-len-b", "20", "--buffer-size", "1"]
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
    run(text, output=output, max_len_a=0.0, max_len_b=20)
    assert "going on after line" in run.errors
    assert output.read_text().splitlines() == run(text, max_len_a=0.0, max_len_b=20)


def test_an_output_goes_on_only_with_what_it_was_begun_with(
    run: Generator, interrupt: Any, tmp_path: Path
) -> None:
    text, output = joined(SENTENCES[:9]), tmp_path / "out"
    interrupt(text, 5, output=output)
    run.capsys.readouterr()
    with pytest.raises(UsageError, match=r"made with other settings \(beam 5, now 4\); .*--overwrite"):
        run(text, output=output, beam=4)
    with pytest.raises(UsageError, match=r'other settings \(path \[\["'):
        run(text, output=output, path=run.path / "checkpoint10.safetensors")
    with pytest.raises(DataError, match="line 2 of the input is not what it was"):
        run(text.replace(SENTENCES[1], "ba"), output=output)
    with pytest.raises(DataError, match="4 lines of it made, but the input has 2"):
        run(joined(SENTENCES[:2]), output=output)
    # None of these has done it harm, and how fast it goes is free.
    run(text, output=output, batch_size=1, buffer_size=5)
    assert "going on after line 4" in run.errors
    assert output.read_text().splitlines() == run(text)
    interrupt(text, 5, output=output)
    run(text, output=output, beam=2, overwrite=True)
    assert "going on" not in run.errors
    assert output.read_text().splitlines() == run(text, beam=2)


def test_where_an_output_may_be(run: Generator, tmp_path: Path) -> None:
    text = joined(SENTENCES[:2])
    assert run(text, output="-") == run(text)
    assert run(text, output="/dev/null") == []
    with pytest.raises(UsageError, match="is a folder, not a file"):
        run(text, output=tmp_path)
    with pytest.raises(DataError, match="no such file"):
        run("", input=tmp_path / "none", output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with (
        locked(partial(tmp_path / "out"), ""),
        pytest.raises(S2SError, match="is at work in this folder; wait"),
    ):
        run(text, output=tmp_path / "out")
    with pytest.raises(S2SError, match="/dev/full: cannot write: No space left on device"):
        run(text, output="/dev/full")
    assert list(tmp_path.iterdir()) == []
    # A finished one is made anew, and stays as it is until then.
    run(text, output=tmp_path / "deep" / "out")
    run(joined(SENTENCES[:1]), output=tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out").read_text().splitlines() == run(joined(SENTENCES[:1]))


def assert_same_records(lines: list[str], expected: list[str]) -> None:
    """What a line is batched with may change the last digit of its scores, and nothing else."""
    for line, other in zip(lines, expected, strict=True):
        one, two = json.loads(line), json.loads(other)
        for name in ("score", "token_scores"):
            assert one.pop(name) == pytest.approx(two.pop(name), abs=1e-4)
        assert one == two


def test_context_reaches_over_an_interruption(run: Generator, interrupt: Any, tmp_path: Path) -> None:
    data = write_dataset(tmp_path, source_tag=("<2bb>",), context_lines=2, max_source_length=20)
    Trainer(data, tmp_path)("run", **TRANSFORMER, max_update=1)
    settings = {"path": tmp_path / "run", "source_tag": "<2bb>", "format": "jsonl"}
    text, output = joined(SENTENCES[:8]), tmp_path / "out"
    expected = run(text, **settings)
    interrupt(text, 5, output=output, **settings)
    run(text, output=output, **settings)
    assert_same_records(output.read_text().splitlines(), expected)
    source = json.loads(expected[4])["source"]
    assert source == f"<2bb> {SENTENCES[2]} <sep> {SENTENCES[3]} <sep> {SENTENCES[4]}"
    # So it does over the shards.
    shards = [run(text, num_shards=3, shard_id=number, **settings) for number in range(3)]
    assert_same_records([shards[number % 3][number // 3] for number in range(8)], expected)


def test_tags_and_context_of_a_line_in_parts(run: Generator, tmp_path: Path) -> None:
    """A line that is short enough loses context only; each part of one that is not has its tag."""
    data = write_dataset(tmp_path, source_tag=("<2bb>",), context_lines=2, max_source_length=20)
    Trainer(data, tmp_path)("run", **TRANSFORMER, max_update=1)
    path = limited(tmp_path / "run", tmp_path / "model", max_source_length=9, on_long="skip")
    text = joined(["da de di", "ba be", "ga ge gi ga", " ".join(["ba be bi da"] * 4)])
    found = run(text, path=path, source_tag="<2bb>", on_long="split", format="fairseq")
    assert [line.partition("\t")[2] for line in found if line.startswith("S")] == [
        "<2bb> da de di",
        "<2bb> da de di <sep> ba be",
        "<2bb> <sep> ba be <sep> ga ge gi ga",
        "<2bb> ba be bi da ba be bi da <2bb> ba be bi da ba be bi da",
    ]


def test_fairseq_format(run: Generator, toy_data: Path) -> None:
    settings = {"nbest": 2, "beam": 3}
    records = [json.loads(line) for line in run("", data=toy_data, format="jsonl", **settings)]
    lines = [line.split("\t") for line in run("", data=toy_data, format="fairseq", **settings)]
    assert len(lines) == len(records) * (2 + 2 * 3)
    for number, record in enumerate(records):
        rows = lines[number * 8 : number * 8 + 8]
        assert [row[0] for row in rows] == [f"{letter}-{number}" for letter in "STHDPHDP"]
        assert (rows[0][1], rows[1][1]) == (record["source"], record["reference"])
        for hypothesis, nbest in zip((rows[2:5], rows[5:8]), record["nbest"], strict=True):
            for row in hypothesis[:2]:
                assert float(row[1]) == pytest.approx(nbest["score"] / math.log(2), abs=2e-6)
                assert row[2] == nbest["text"]
        assert rows[2][2] == " ".join(record["tokens"][:-1])
        expected = [f"{score / math.log(2):.4f}" for score in record["token_scores"]]
        assert [float(score) for score in rows[4][1].split(" ")] == pytest.approx(
            [float(score) for score in expected], abs=2e-4
        )
    assert run("xyzzy ba\n\n", format="fairseq")[0] == "S-0\t<unk> ba"
    # A blank line has the lines of an empty output, so that those cut out of the whole stay parallel to the input.
    assert run("\n", format="fairseq") == ["S-0\t", "H-0\t0.0\t", "D-0\t0.0\t", "P-0\t"]


def test_json_lines(run: Generator, tmp_path: Path) -> None:
    values: list[dict[str, Any]] = [
        {"source": SENTENCES[0], "reference": "ba", "doc": {"a": [1, None, 0.1]}, "id": 77, "version": "x"},
        {"source": "", "url": "\u00e9\u2028", "score": 5, "nbest": [1]},
        {"source": f"{SENTENCES[1]}\n", "half": "\ud800"},
        {"source": f"{SENTENCES[2]}\0", "reference": None},
    ]
    text = joined([json.dumps(value) for value in values])
    found = [json.loads(line) for line in run(text, input_format="jsonl", format="jsonl")]
    assert [record["text"] for record in found] == run(joined([*SENTENCES[:1], "", *SENTENCES[1:2]])) + run(
        f"{SENTENCES[2]}\0\n"
    )
    assert [record["id"] for record in found] == [0, 1, 2, 3]
    assert [record["version"] for record in found] == [1] * 4
    assert (found[0]["doc"], found[0]["reference"]) == (values[0]["doc"], "ba")
    assert found[1] == {"version": 1, "id": 1, "source": "", "text": "", "url": "\u00e9\u2028"}
    assert (found[2]["half"], found[2]["source"]) == ("\ud800", f"{SENTENCES[1]} ")
    assert "reference" not in found[3]
    assert found[3]["source"] == f"{SENTENCES[2]}\ufffd"
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    assert run("", input=path, format="jsonl") == run(text, input_format="jsonl", format="jsonl")
    assert run("", input=path, input_format="text") != run("", input=path)
    nested = json.dumps({"source": "not this", "pair": {"aa": SENTENCES[0]}}) + "\n"
    (record,) = run(nested, input_format="jsonl", source_field="pair.aa", format="jsonl")
    assert json.loads(record)["source"] == SENTENCES[0]
    assert json.loads(record)["pair"] == {"aa": SENTENCES[0]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"source": "ba', "standard input:3: the line is no JSON; --source-field is source"),
        ("", "standard input:3: the line is no JSON"),
        ("7", "standard input:3: the line's JSON is no object; --source-field is source"),
        ('["a", "b"]', "standard input:3: the line's JSON is no object"),
        ('{"text": "ba"}', "standard input:3: the line has no text field 'source'"),
        ('{"source": 7}', "standard input:3: the line's source is not text"),
        ('{"source": "ba", "reference": []}', "standard input:3: the line's reference is not text"),
        ("[" * 100_000, "standard input:3: the line's JSON is nested too deeply"),
    ],
)
def test_broken_json(run: Generator, line: str, message: str) -> None:
    """It is one clear error, and comes after the answers to the lines before."""
    good = json.dumps({"source": SENTENCES[0]})
    with pytest.raises(DataError, match=message) as raised:
        run(joined([good, good, line, good]), input_format="jsonl")
    assert "\n" not in str(raised.value)
    assert run.capsys.readouterr().out == joined(run(f"{SENTENCES[0]}\n") * 2)


def test_long_lines(run: Generator, tmp_path: Path) -> None:
    (tmp_path / "limited").mkdir()
    path = limited(run.path, tmp_path / "limited/model", on_long="skip", max_source_length=3)
    text = "ba be bi da de\nba be\n"
    assert run(text, path=path) == run(text)
    lines = run(text, path=path, on_long="truncate")
    assert run.errors == "warning: line 1: 5 source tokens, cut to the 3 that the model was trained on\n"
    assert lines == run("ba be bi\nba be\n")
    with pytest.raises(DataError, match="line 2: 5 source tokens, more than the 3 that the model was made"):
        run(f"ba be\n{text}", path=path, on_long="error")
    assert run.capsys.readouterr().out == joined(run("ba be\n"))
    assert run("ba be\n", path=path, on_long="error") == run("ba be\n")


def test_a_long_line_is_translated_in_parts(run: Generator, tmp_path: Path) -> None:
    path = limited(run.path, tmp_path / "model", on_long="skip", max_source_length=4)
    halves, alone = run("ba be bi\nda de di\n"), run("ga ge\n")
    text = "ga ge\nba be bi da de di\n\nga ge\n"
    for buffer_size in (1, 2, 100):
        lines = run(text, path=path, on_long="split", buffer_size=buffer_size)
        assert lines == [*alone, " ".join(halves), "", *alone]
        assert run.errors == ""
    settings = {"format": "jsonl", "nbest": 2, "beam": 3}
    found = [json.loads(line) for line in run(text, path=path, on_long="split", **settings)]
    parts = [json.loads(line) for line in run("ba be bi\nda de di\n", **settings)]
    assert [record["id"] for record in found] == [0, 1, 2, 3]
    assert found[1]["source"] == "ba be bi da de di"
    assert found[1]["tokens"] == parts[0]["tokens"] + parts[1]["tokens"]
    sums = [sum(record["token_scores"]) for record in parts]
    assert found[1]["score"] == pytest.approx(sum(sums) / len(found[1]["tokens"]), abs=1e-4)
    assert [item["text"] for item in found[1]["nbest"]] == [
        f"{one['text']} {other['text']}"
        for one, other in zip(*(part["nbest"] for part in parts), strict=True)
    ]
    (source, *_) = run("ba be bi da de di\n", path=path, on_long="split", format="fairseq")
    assert source == "S-0\tba be bi da de di"


@pytest.mark.parametrize(
    ("text", "longest", "parts"),
    [
        ("Yes. No.", 8, ["Yes. No."]),
        ("Yes. No.", 5, ["Yes.", " No."]),
        ("One two three four.", 11, ["One two", " three four."]),
        ('He said "No!" And left... Why?', 20, ['He said "No!"', " And left...", " Why?"]),
        ("Version 3.14 is out. It works", 25, ["Version 3.14 is out.", " It works"]),
        ("一二三。四五六！七八", 4, ["一二三。", "四五六！", "七八"]),
        ("「一二。」三四五", 5, ["「一二。」", "三四五"]),
        ("一二三四五六", 3, ["一二三", "四五六"]),
        ("  One. \t Two.  ", 5, ["One.", " Two."]),
        ("abcdefgh", 0, list("abcdefgh")),
    ],
)
def test_where_a_line_is_cut(text: str, longest: int, parts: list[str]) -> None:
    found = split_line(text, lambda part: len(part) <= longest)
    assert [space + part for space, part in found] == parts


@pytest.mark.parametrize("marks", [".", ". ", "!\u201d", "\u3002", "x"])
def test_cutting_takes_no_longer_than_the_line(marks: str) -> None:
    text, start = marks * 200_000, time.process_time()
    parts = split_line(text, lambda part: len(part) <= 100)
    # It takes a fifth of a second, and what goes through the line once for each mark twenty.
    assert time.process_time() - start < 5
    assert "".join(part for _, part in parts) == text.replace(" ", "")
    assert all(len(part) <= 100 for _, part in parts)


@pytest.mark.parametrize("settings", [{}, {"format": "jsonl"}])
def test_shards_put_together_are_the_whole(run: Generator, tmp_path: Path, settings: dict[str, Any]) -> None:
    """As the README has it, where the number of lines is not that of the shards times something."""
    text = joined(SENTENCES[:8])
    for number in range(3):
        lines = run(text, num_shards=3, shard_id=number, **settings)
        (tmp_path / f"shard{number}").write_text(joined(lines))
    (tmp_path / "source").write_text(text)
    command = r"paste -d '\n' shard0 shard1 shard2 | head -n $(wc -l < source)"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    if settings.get("format") == "jsonl":
        assert_same_records(done.stdout.splitlines(), run(text, **settings))
    else:
        assert done.stdout.splitlines() == run(text, **settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_shards": 2, "shard_id": 2}, UsageError, "--shard-id 2 must be under --num-shards 2"),
    ],
)
def test_settings_that_cannot_be(
    run: Generator, settings: dict[str, Any], error: type[S2SError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run("ba\n", **settings)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_lines(run: Generator, number: int, code: int) -> None:
    text = joined(SENTENCES[:9])
    before = signal.getsignal(number)
    run.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupting(text, 5, number)))
    words = f"generate --path {run.path} --buffer-size 2 --device cpu --max-len-a 1 --max-len-b 5"
    assert run_command(words.split()) == code
    out, errors = run.capsys.readouterr()
    assert errors == "s2s generate: interrupted after 4 lines\n"
    assert out == joined(run(text)[:4])
    assert signal.getsignal(number) == before


def test_a_signal_within_a_line_waits_for_its_end(run: Generator) -> None:
    class Torn(io.StringIO):
        def write(self, text: str) -> int:
            signal.raise_signal(signal.SIGINT)
            return super().write(text)

    expected = run(joined(SENTENCES[:3]))
    stdout = Torn()
    run.monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(Interrupted, match=r"interrupted after 1 line$"):
        run(joined(SENTENCES[:3]))
    assert stdout.getvalue() == f"{expected[0]}\n"


def test_endless_input_and_a_reader_that_goes(run: Generator) -> None:
    """Output begins before the input ends, and the end of `head` is the command's, without a word."""
    command = (
        f"yes ba be be | {sys.executable} -m s2scli generate --path {run.path} --buffer-size 4 --max-len-b 9 "
        "| head -n 3; echo ${PIPESTATUS[1]}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    *lines, code = done.stdout.splitlines()
    assert code == "141"
    assert len(lines) == 3
    assert len(set(lines)) == 1


def fuzzed(number: int) -> list[bytes]:
    """Lines such as text that comes from anywhere has."""
    draw = random.Random(3)
    words = [
        "ba",
        "be",
        "bi",
        "xyzzy",
        ".",
        "!?",
        "\u3002",
        "\U0001f600",
        "\U0001f468\u200d\U0001f469",
        "<sep>",
        "</s>",
    ]
    words += [
        "\0",
        "\x85",
        "\u2028",
        "\r",
        "\x1b[0m",
        "\x0b",
        "\x7f",
        "\u202e",
        "\ufeff",
        "\u0301",
        "\t",
        "\u3000",
        "",
    ]
    lines = [
        draw.choice(["", " "]).join(draw.choices(words, k=draw.randint(0, 12))).encode()
        for _ in range(number)
    ]
    for place in draw.sample(range(number), number // 10):
        lines[place] += draw.randbytes(5).replace(b"\n", b"\xff")
    lines[7::500] = [b"x" * 10_000, b"ba " * 3_000, b"!" * 10_000, "\u3002".encode() * 10_000][
        : len(lines[7::500])
    ]
    return lines


@pytest.mark.parametrize("settings", [{"on_long": "truncate"}, {"on_long": "split", "format": "jsonl"}])
def test_fuzzed_lines(run: Generator, tmp_path: Path, settings: dict[str, Any]) -> None:
    path = limited(run.path, tmp_path / "model", max_source_length=30)
    lines = fuzzed(2_000)
    found = run(b"\n".join(lines), path=path, beam=1, max_len_a=0.0, max_len_b=4, **settings)
    assert len(found) == len(lines)
    if "format" in settings:
        assert [json.loads(line)["id"] for line in found] == list(range(len(lines)))


@pytest.mark.parametrize(
    "settings", [{}, {"sampling": True, "nbest": 2, "format": "jsonl", "buffer_size": 9}, {"follow": True}]
)
def test_processes_change_nothing(run: Generator, settings: dict[str, Any]) -> None:
    """Lines are in order, blank ones too, and samples are those of one process."""
    text = joined([*SENTENCES[:20], "", *SENTENCES[20:], ""])
    # Alone, so that the last digits are the same too.
    alone = run(text, batch_size=1, **settings)
    assert run(text, batch_size=1, processes=2, **settings) == alone
    assert [json.loads(line)["id"] if line.startswith("{") else 0 for line in alone][-1] in (0, 41)


def test_what_goes_wrong_in_a_process_is_said(run: Generator, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"source": "ba be"}\n{\n')
    with pytest.raises(DataError, match=r"broken\.jsonl:2: "):
        run("", input=broken, processes=2)
    assert "line 1" not in run.errors
    with pytest.raises(UsageError, match="line 1 has no reference to score"):
        run("ba\n", score_reference=True, processes=2)
