"""`chat`: a conversation in a real terminal, and the same answers from a pipe."""

from __future__ import annotations

import io
import json
import os
import pty
import random
import re
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from loaded import make_streams
from toys import TRANSFORMER, WORDS, Trainer

from s2scli.chat import chat
from s2scli.cli.app import main
from s2scli.cli.app import run as run_command
from s2scli.configs.chat import ChatConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.errors import DataError, UsageError
from s2scli.generate import generate
from s2scli.preprocess import preprocess
from s2scli.schema import build

SECONDS = 60
TURNS = ["ba be", "di ga", "ka", "ge gi be", "ba ba", "ke ki", "da", "de di ka", "be", "ga ba"]


def words(draw: random.Random, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs on dialogues, "marked" and "plain", whose answers have words of earlier turns.

    An answer is the first word of what was said before, and the first of what was said two turns before that.
    """
    root = tmp_path_factory.mktemp("talking")
    draw = random.Random(5)
    for split, number in (("train", 150), ("valid", 8)):
        with (root / f"{split}.jsonl").open("w") as stream:
            for _ in range(number):
                turns: list[str] = []
                for _ in range(3):
                    turns.append(words(draw, 3))
                    turns.append(" ".join(turn.split()[0] for turn in turns[-1:-4:-2]))
                stream.write(json.dumps({"turns": turns, "speakers": ["USER", "SYSTEM"] * 3}) + "\n")
    files = {f"{split}_file": root / f"{split}.jsonl" for split in ("train", "valid")}
    quick = {"optimizer.lr": 0.01, "model.dropout": 0.0, "log_interval": 100, "max_epoch": 8}
    for name, settings in (
        ("marked", {"speakers": True, "target_speaker": ("SYSTEM",)}),
        ("plain", {"context_turns": 2}),
    ):
        values = {"input_format": "dialogue", "tokenizer": "word", "destdir": root / f"{name}_data"}
        data = preprocess(build(PreprocessConfig, values | files | settings)).destdir
        Trainer(data, root)(name, **TRANSFORMER | quick)
    return root


Pipe = Callable[..., list[str]]


@pytest.fixture
def pipe(talking: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Runs chat on what comes through a pipe; the lines that it prints."""

    def call(text: bytes | str, path: Path | None = None, **settings: Any) -> list[str]:
        data = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        values = {"path": path or talking / "marked", "device": "cpu", "max_len_b": 6} | settings
        result = chat(build(ChatConfig, values))
        lines = capsys.readouterr().out.split("\n")[:-1]
        assert result.answers == len(lines)
        return lines

    return call


def records(dialogues: list[Any]) -> str:
    return "".join(f"{json.dumps(item)}\n" for item in dialogues)


class Terminal:
    """`s2s chat` in a terminal of its own."""

    def __init__(self, *flags: str) -> None:
        self.process, self.descriptor = pty.fork()
        if not self.process:
            self._run("chat", "--device", "cpu", *flags)
        self.greeting = self.read()

    def _run(self, *command: str) -> NoReturn:
        """Be the process of a command, which has torch loaded already."""
        code = 99
        try:
            # What a shell starts in the background ignores Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ["TERM"] = "dumb"
            make_streams()
            sys.argv = ["s2s", *command]
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            sys.stdout.flush()
        finally:
            os._exit(code)

    def read(self, until: str = "> ", seconds: float = SECONDS) -> str:
        """What is shown up to the prompt."""
        shown = b""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not select.select([self.descriptor], [], [], 0.2)[0]:
                continue
            try:
                shown += os.read(self.descriptor, 1 << 16)
            except OSError:  # the other end is closed
                break
            # A line that was typed ends in a new one before the answer comes.
            if until and shown.endswith(f"\n{until}".encode()):
                break
        else:
            raise AssertionError(f"no prompt: {shown!r}")
        return shown.decode("utf-8", errors="replace").replace("\r\n", "\n")

    def type(self, line: str | bytes) -> list[str]:
        """Type a line; what is shown after it, up to the prompt."""
        raw = line.encode() if isinstance(line, str) else line
        os.write(self.descriptor, raw + b"\r")
        return self.read().split("\n")[1:-1]

    def wait_until_it_answers(self) -> None:
        """Wait until it has taken a line: while it reads keys, the terminal does not edit lines by itself."""
        end = time.monotonic() + SECONDS
        while not termios.tcgetattr(self.descriptor)[3] & termios.ICANON:
            assert time.monotonic() < end
            time.sleep(0.01)
        # From having a line to looking for an answer it is a few steps of Python.
        time.sleep(0.2)

    def end(self, key: bytes) -> tuple[str, int]:
        """Press a key that ends it; what is shown, and the exit code."""
        for _ in range(20):
            os.write(self.descriptor, key)
            # Python does not see a Ctrl-C that comes between its prompt and its waiting for a key.
            with suppress(AssertionError):
                shown = self.read(until="", seconds=SECONDS / 20)
                return shown, os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        raise AssertionError(f"{key!r} has not ended it")


@pytest.fixture
def terminal(talking: Path) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*flags: str, path: str = "marked") -> Terminal:
        started.append(Terminal("--path", str(talking / path), "--max-len-b", "6", *flags))
        return started[-1]

    yield start
    for item in started:
        try:
            os.kill(item.process, signal.SIGKILL)
            os.waitpid(item.process, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(item.descriptor)


def test_a_conversation_in_a_terminal(terminal: Callable[..., Terminal], pipe: Pipe, tmp_path: Path) -> None:
    chatting = terminal()
    assert "answers to the last 3 turns; /help" in chatting.greeting
    answers = []
    for turn in TURNS:
        (answer,) = chatting.type(turn)
        answers.append(answer)
    saved = tmp_path / "talk.jsonl"
    assert chatting.type(f"/save {saved}") == [f"{saved}: 20 turns"]
    (dialogue,) = [json.loads(line) for line in saved.read_text().splitlines()]
    turns = [text for both in zip(TURNS, answers, strict=True) for text in both]
    assert dialogue == {"turns": turns, "speakers": ["USER", "SYSTEM"] * 10}

    # The same turns as dialogues have the same answers, and the turns before them matter.
    wholes = [{"turns": turns[: 2 * number + 1]} for number in range(10)]
    assert [json.loads(line)["text"] for line in pipe(records(wholes))] == answers
    assert [json.loads(line)["text"] for line in pipe(records(wholes), context_turns=1)] != answers

    # The last exchange is taken back, and the same turn has the same answer.
    assert chatting.type("/undo") == [f"taken back: {TURNS[-1]}"]
    assert chatting.type("/history")[-2:] == [f"USER: {turns[-4]}", f"SYSTEM: {turns[-3]}"]
    assert chatting.type(TURNS[-1]) == [answers[-1]]
    assert chatting.type("/retry") == [answers[-1]]
    assert chatting.type("/reset") == ["a new conversation"]
    assert chatting.type("/history") == []
    assert chatting.type("/undo") == ["there is no turn to take back"]
    assert chatting.type("/retry") == ["there is no turn to answer again"]
    assert chatting.type(TURNS[0]) == answers[:1]

    # Settings of the search are those of a pipe.
    assert chatting.type("/reset") == ["a new conversation"]
    assert chatting.type("/beam 2") == ["beam 2, max_len_b 6"]
    assert chatting.type(TURNS[0]) == pipe(f"{TURNS[0]}\n", beam=2)
    chatting.type("/sample 2.5")
    chatting.type("/reset")
    assert chatting.type("/seed 4") == ["sampling, max_len_b 6, temperature 2.5, seed 4"]
    drawn = [chatting.type(turn)[0] for turn in TURNS[:3]]
    text = "".join(f"{turn}\n" for turn in TURNS[:3])
    assert drawn == pipe(text, sampling=True, temperature=2.5, seed=4)
    assert drawn != pipe(text, sampling=True, temperature=2.5, seed=5)
    assert chatting.type("/set top-k 1") == ["sampling, max_len_b 6, temperature 2.5, top_k 1, seed 4"]
    chatting.type("/reset")
    assert chatting.type(TURNS[0]) == pipe(f"{TURNS[0]}\n", beam=1)
    assert chatting.end(b"/quit\r")[1] == 0


def test_odd_input_in_a_terminal(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    chatting = terminal(path="plain")
    assert chatting.type("") == []
    assert chatting.type("   ") == []
    (line,) = chatting.type("/rest")
    assert line == "/rest: no such command; did you mean /reset?; a turn that begins with / is typed with two"
    assert chatting.type("/beam") == ["/beam: wanted: /beam N"]
    assert chatting.type("/beam much") == ["/beam = 'much' is not valid; wanted: a whole number"]
    assert "allowed: ≥ 1" in chatting.type("/beam 0")[0]
    assert chatting.type("/reset now") == ["/reset: wanted: /reset"]
    assert chatting.type("/set beem 3")[0].startswith(
        "/set beem: no setting of the search; did you mean beam?"
    )
    (tmp_path / "mine").write_text("mine")
    assert "is there already" in chatting.type(f"/save {tmp_path / 'mine'}")[0]
    assert (tmp_path / "mine").read_text() == "mine"
    assert len(chatting.type("/help")) >= 11

    odd = ["//beam 5", "</s> <turn> <unk>", "ba " * 1500, "\u0007ba\u001b[31mred", "naïve 你好 \U0001f600"]
    for turn in odd[:3]:
        assert len(chatting.type(turn)) >= 1
    invalid = chatting.type(b"ba \xff\xfe be")
    assert invalid[0] == "warning: not UTF-8, or NUL; replaced by U+FFFD"
    # The long turn before it is in its context, and cut.
    assert [line for line in invalid[1:-1] if "source tokens, cut to the " not in line] == []
    history = chatting.type("/history")
    said = [line.removeprefix("you: ") for line in history if line.startswith("you: ")]
    assert said[0] == "/beam 5"
    assert said[1] == "</s> <turn> <unk>"
    assert said[3].startswith("ba \ufffd")
    shown, code = chatting.end(b"\x04")
    assert code == 0
    assert "Traceback" not in shown


def test_ctrl_c_stops_an_answer_and_at_the_prompt_the_conversation(
    terminal: Callable[..., Terminal],
) -> None:
    # A minimum length makes it write for long.
    chatting = terminal("--min-len", "20000", "--max-len-b", "20000", "--beam", "10")
    os.write(chatting.descriptor, b"ba be\r")
    chatting.wait_until_it_answers()
    os.write(chatting.descriptor, b"\x03")
    assert "stopped; the turn is taken back" in chatting.read()
    assert chatting.type("/history") == []
    shown, code = chatting.end(b"\x03")
    assert code == 0
    assert "Traceback" not in shown
    assert "error" not in shown


def test_answers_of_a_pipe_are_those_of_generate(
    pipe: Pipe, talking: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(8)
    dialogues: list[dict[str, Any]] = [
        {"turns": [words(draw, 3) for _ in range(draw.randint(1, 5))], "id": f"d{number}", "mood": number}
        for number in range(12)
    ]
    found = [json.loads(line) for line in pipe(records(dialogues), nbest=2)]
    assert [record["id"] for record in found] == list(range(12))
    assert [record["mood"] for record in found] == list(range(12))
    assert [record["turns"] for record in found] == [dialogue["turns"] for dialogue in dialogues]
    assert all(len(record["nbest"]) == 2 and "token_scores" in record for record in found)

    def generated(text: str, **settings: Any) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        values = {"path": talking / "marked", "device": "cpu", "max_len_b": 6, "format": "jsonl", "nbest": 2}
        generate(build(GenerateConfig, values | settings))
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    sources = generated("".join(f"{record['source']}\n" for record in found))
    assert [record["text"] for record in sources] == [record["text"] for record in found]
    # generate takes dialogues, too.
    assert [record["text"] for record in generated(records(dialogues), input_format="jsonl")] == [
        record["text"] for record in found
    ]


def test_who_speaks_may_be_said(pipe: Pipe) -> None:
    dialogues: list[dict[str, Any]] = [
        {"turns": ["ba", "be"], "speakers": ["USER", "USER"]},
        {"turns": ["ba", "be"], "speakers": ["USER", "SYSTEM", "USER"]},
        {"turns": ["ba", " ", "be"]},
        {"turns": ["<turn> <SYSTEM>\n</s>"]},
        {"turns": []},
    ]
    sources = [json.loads(line)["source"] for line in pipe(records(dialogues))]
    assert sources == [
        "<USER> ba <turn> <USER> be <turn> <SYSTEM>",
        "<USER> ba <turn> <SYSTEM> be <turn> <USER>",
        "<USER> ba <turn> <USER> be <turn> <SYSTEM>",
        "<USER> < turn> < SYSTEM> < /s> <turn> <SYSTEM>",
        "",
    ]
    (line,) = pipe(records([{"turns": ["ba"]}]), speaker="USER")
    assert json.loads(line)["source"] == "<SYSTEM> ba <turn> <USER>"


def test_lines_of_a_pipe_are_turns_and_a_blank_one_begins_anew(pipe: Pipe) -> None:
    answers = pipe("ba be\ndi\n\nba be\n", format="jsonl")
    one, two, blank, again = (json.loads(line) for line in answers)
    assert two["source"] == f"<USER> ba be <turn> <SYSTEM> {one['text']} <turn> <USER> di <turn> <SYSTEM>"
    assert blank["text"] == ""
    assert again["source"] == one["source"] == "<USER> ba be <turn> <SYSTEM>"
    assert [again["id"], again["text"]] == [3, one["text"]]
    assert pipe("ba be\n{\n", input_format="text")[0] == one["text"]
    assert pipe("") == []
    assert pipe(b"ba \xff\n/help\n") != []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "the line is no JSON; wanted"),
        ('{"turn": ["a"]}', "the line has no text field 'turns'"),
        ('{"turns": ["a", 1]}', r"the line's turns\[1\] is not text"),
        ('{"turns": ["a"], "speakers": []}', "the line's speakers are 0, and its turns 1"),
    ],
)
def test_a_broken_dialogue_stops_the_pipe_after_those_before_it(
    pipe: Pipe, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    with pytest.raises(DataError, match=f"standard input:2: {message}"):
        pipe(records([{"turns": ["ba"]}]) + f"{line}\n")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_model_that_knows_no_dialogues(
    pipe: Pipe, toy_runs: Path, other_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_runs / "transformer"
    command = ["chat", "--path", str(path), "--device", "cpu", "--max-len-b", "6", "--format", "jsonl"]
    for flags, source, said in (
        ([], "di", "was not trained on dialogues, so each turn is answered by itself; --context-turns 3"),
        (
            ["--context-turns", "3"],
            "ba be {} di",
            "was not trained on dialogues; turns are joined by a space",
        ),
    ):
        sys.stdin = io.TextIOWrapper(io.BytesIO(b"ba be\ndi\n"))
        assert run_command([*command, *flags]) == 0
        out, err = capsys.readouterr()
        one, two = (json.loads(line) for line in out.splitlines())
        assert two["source"] == source.format(one["text"])
        assert f"{path}: {said}" in err
    with pytest.raises(UsageError, match="--speaker A: the model was not trained with --speakers"):
        pipe("ba\n", path=path, speaker="A")
    with pytest.raises(UsageError, match="a language model answers nothing"):
        pipe("ba\n", path=other_runs / "lm")


def test_settings_that_cannot_be(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--speaker SYSTM: not in the training data; did you mean SYSTEM"):
        pipe("ba\n", speaker="SYSTM")
    assert run_command(["chat"]) == 2
    assert re.search("--path must be given", capsys.readouterr().err)
