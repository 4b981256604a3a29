"""`generate` between other programs: shards, processes, signals, readers that go, broken text."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from generating import SENTENCES, Generator, Interrupting, assert_same_records, joined, limited

from s2scli.cli.app import run as run_command
from s2scli.errors import DataError, Interrupted, UsageError


@pytest.mark.parametrize("settings", [{}, {"format": "jsonl"}])
def test_shards_put_together_are_the_whole(
    transformer: Generator, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """As the README has it, where the number of lines is not that of the shards times something."""
    text = joined(SENTENCES[:8])
    for number in range(3):
        lines = transformer(text, num_shards=3, shard_id=number, **settings)
        (tmp_path / f"shard{number}").write_text(joined(lines))
    (tmp_path / "source").write_text(text)
    command = r"paste -d '\n' shard0 shard1 shard2 | head -n $(wc -l < source)"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    if settings.get("format") == "jsonl":
        assert_same_records(done.stdout.splitlines(), transformer(text, **settings))
    else:
        assert done.stdout.splitlines() == transformer(text, **settings)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_lines(transformer: Generator, number: int, code: int) -> None:
    text = joined(SENTENCES[:9])
    before = signal.getsignal(number)
    transformer.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupting(text, 5, number)))
    words = f"generate --path {transformer.path} --buffer-size 2 --device cpu --max-len-a 1 --max-len-b 5"
    assert run_command(words.split()) == code
    out, errors = transformer.capsys.readouterr()
    assert errors == "s2s generate: interrupted after 4 lines\n"
    assert out == joined(transformer(text)[:4])
    assert signal.getsignal(number) == before


def test_a_signal_within_a_line_waits_for_its_end(transformer: Generator) -> None:
    class Torn(io.StringIO):
        def write(self, text: str) -> int:
            signal.raise_signal(signal.SIGINT)
            return super().write(text)

    expected = transformer(joined(SENTENCES[:3]))
    stdout = Torn()
    transformer.monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(Interrupted, match=r"interrupted after 1 line$"):
        transformer(joined(SENTENCES[:3]))
    assert stdout.getvalue() == f"{expected[0]}\n"


@pytest.mark.parametrize(("window", "handed_on"), [(2, [0, 0, 2, 2, 4, 4]), (1, [0, 1, 2, 3, 4, 5])])
def test_all_answers_are_handed_on_before_another_line_is_read(
    transformer: Generator, window: int, handed_on: list[int]
) -> None:
    class Held(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed = self.getvalue().count("\n")

    class Told(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            found.append(stdout.flushed)
            return super().readline(size)

    found: list[int] = []
    stdout = Held()
    transformer.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Told(joined(SENTENCES[:5]).encode())))
    transformer.monkeypatch.setattr(sys, "stdout", stdout)
    words = f"--buffer-size {window} --device cpu --max-len-a 1 --max-len-b 5"
    assert run_command(["generate", "--path", str(transformer.path), *words.split()]) == 0
    assert found[:6] == handed_on
    assert stdout.flushed == 5


def test_endless_input_and_a_reader_that_goes(transformer: Generator, loaded_s2s: Path) -> None:
    """Output begins before the input ends, and the end of `head` is the command's, without a word."""
    command = (
        f"yes ba be be | {loaded_s2s} generate --path {transformer.path} --buffer-size 4 --max-len-b 9 "
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
def test_fuzzed_lines(transformer: Generator, tmp_path: Path, settings: dict[str, Any]) -> None:
    path = limited(transformer.path, tmp_path / "model", max_source_length=30)
    lines = fuzzed(2_000)
    found = transformer(b"\n".join(lines), path=path, beam=1, max_len_a=0.0, max_len_b=4, **settings)
    assert len(found) == len(lines)
    if "format" in settings:
        assert [json.loads(line)["id"] for line in found] == list(range(len(lines)))


@pytest.mark.parametrize(
    "settings", [{"sampling": True, "nbest": 2, "format": "jsonl", "buffer_size": 9}, {"follow": True}]
)
def test_processes_change_nothing(
    transformer: Generator, settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """Lines are in order, blank ones too, and samples are those of one process."""
    if "follow" in settings:
        # One start of processes as users have it is enough.
        request.getfixturevalue("loaded_workers")
    text = joined([*SENTENCES[:20], "", *SENTENCES[20:], ""])
    # Alone, so that the last digits are the same too.
    alone = transformer(text, batch_size=1, **settings)
    assert transformer(text, batch_size=1, processes=2, **settings) == alone
    assert [json.loads(line)["id"] if line.startswith("{") else 0 for line in alone][-1] in (0, 41)


@pytest.mark.usefixtures("loaded_workers")
def test_lines_before_one_that_is_refused_are_answered_by_processes_too(
    transformer: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = limited(transformer.path, tmp_path / "model", max_source_length=8)
    text = joined([*SENTENCES[:6], "ba " * 20, *SENTENCES[6:9]])
    for number in (1, 2):
        with pytest.raises(DataError, match=r"^line 7: 20 source tokens, more than the 8"):
            transformer(text, path=path, on_long="error", processes=number)
        assert capsys.readouterr().out.count("\n") == 6


@pytest.mark.usefixtures("loaded_workers")
def test_what_goes_wrong_in_a_process_is_said(transformer: Generator, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"source": "ba be"}\n{\n')
    with pytest.raises(DataError, match=r"broken\.jsonl:2: "):
        transformer("", input=broken, processes=2)
    assert "line 1" not in transformer.errors
    with pytest.raises(UsageError, match="line 1 has no reference to score"):
        transformer("ba\n", score_reference=True, processes=2)
