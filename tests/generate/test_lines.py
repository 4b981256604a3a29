"""`generate`: N lines in, N lines out, in order, whatever the lines are and however they are batched."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fairseq_symbols import EOS
from generating import SENTENCES, Generator, joined, limited
from toys import TRANSFORMER, WORDS, Trainer

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.errors import DataError


def test_a_line_for_each_line(run: Generator) -> None:
    lines = run(joined(SENTENCES))
    assert len(lines) == len(SENTENCES)
    assert all(set(line.split()) <= set(WORDS) for line in lines)
    assert len(set(lines)) > 10, "the model must say different things, or order would not show"
    assert run.errors == ""
    assert run("") == []


@pytest.mark.parametrize("settings", [{}, {"beam": 1}])
def test_order_and_text_do_not_depend_on_the_grouping(run: Generator, settings: dict[str, Any]) -> None:
    expected = [run(f"{line}\n", **settings)[0] for line in SENTENCES]
    for grouping in (
        {"batch_size": 64},
        {"batch_size": 1},
        {"batch_size": 7, "buffer_size": 10},
        {"buffer_size": 1},
        {"max_tokens": 12},
        {"max_tokens": 1},
        {"follow": True},
    ):
        assert run(joined(SENTENCES), **settings, **grouping) == expected, grouping
    assert run(joined(SENTENCES[::-1]), **settings) == expected[::-1]


def test_scores_do_not_depend_on_the_grouping(run: Generator) -> None:
    together, alone = (
        [json.loads(line) for line in run(joined(SENTENCES), format="jsonl", nbest=3, batch_size=size)]
        for size in (64, 1)
    )
    for one, other in zip(together, alone, strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["token_scores"] == pytest.approx(other["token_scores"], abs=1e-4)
        assert [item["text"] for item in one["nbest"]] == [item["text"] for item in other["nbest"]]


def test_blank_lines_stay_blank(run: Generator) -> None:
    text = ["", SENTENCES[0], "", "   ", "\t", SENTENCES[1], "\u3000\u200b", "", SENTENCES[2], ""]
    lines = run(joined(text))
    expected = run(joined(SENTENCES[:3]))
    assert [lines[place] for place in (1, 5, 8)] == expected
    assert [lines[place] for place in (0, 2, 3, 4, 6, 7, 9)] == [""] * 7
    assert run("\n\n\n") == ["", "", ""]
    records = [json.loads(line) for line in run("\n   \n", format="jsonl")]
    assert records == [
        {"version": 1, "id": 0, "source": "", "text": ""},
        {"version": 1, "id": 1, "source": "   ", "text": ""},
    ]
    assert run("\n", nbest=2) == [""]


def test_line_ends(transformer: Generator) -> None:
    expected = transformer(joined(SENTENCES[:3]))
    assert transformer("\r\n".join(SENTENCES[:3]) + "\r\n") == expected
    assert transformer("\n".join(SENTENCES[:3])) == expected
    assert transformer("\ufeff" + joined(SENTENCES[:3])) == expected
    # Only \n ends a line; other characters that some call line ends are white space or text within it.
    for separator in ("\r", "\x0b", "\x0c", "\x85", "\u2028"):
        assert len(transformer(f"{SENTENCES[0]}{separator}{SENTENCES[1]}\n{SENTENCES[2]}\n")) == 2


def test_broken_text_is_replaced_and_its_line_kept(transformer: Generator) -> None:
    text = b"ba be\nba \xff\xfe be\nbi\0 di\nde ga\n"
    lines = transformer(text, verbose=True)
    errors = transformer.errors.splitlines()
    assert len(lines) == 4
    assert [lines[0], lines[3]] == transformer("ba be\nde ga\n")
    assert lines[1:3] == transformer("ba \ufffd\ufffd be\nbi\ufffd di\n")
    assert len(errors) == 3
    assert errors[0].startswith("warning: standard input:2: the line is not UTF-8 (byte 0xff at column 4)")
    assert errors[1].startswith(
        "warning: standard input:3: the line holds a NUL character; replaced by U+FFFD"
    )


def test_unknown_tokens_are_reported(transformer: Generator) -> None:
    transformer("ba be\nxyzzy ba\nba\nba xyzzy\n")
    assert "2 lines held what the model has no token for, the first of them line 2" in transformer.errors
    transformer("ba be\n")
    assert "no token" not in transformer.errors


@pytest.mark.parametrize("line", ["", " ", "\t ", "\u00a0 \u3000"])
def test_white_space_gives_an_empty_line(run: Generator, line: str) -> None:
    lines = run(f"{SENTENCES[0]}\n{line}\n{SENTENCES[1]}\n")
    assert lines[1] == ""
    assert [lines[0], lines[2]] == run(joined(SENTENCES[:2]))


def test_a_very_long_line(run: Generator) -> None:
    long = " ".join(["ba be bi"] * 700)
    lines, errors = (
        run(f"{SENTENCES[0]}\n{long}\n{SENTENCES[1]}\n", max_len_a=0.0, max_len_b=20, beam=2),
        run.errors,
    )
    expected = run(joined(SENTENCES[:2]), max_len_a=0.0, max_len_b=20, beam=2)
    assert [lines[0], lines[2]] == expected
    # It is answered in parts of what training had at most.
    assert len(lines[1].split()) > 20
    assert "line 2: 2,100 source tokens, more than the 8 that the model was trained for" in errors


def test_unknown_words_and_special_symbols_are_text(transformer: Generator) -> None:
    expected = transformer("xyzzy ba\n")
    assert transformer("</s> ba\n<pad> ba\n<s> ba\n") == expected * 3


def test_text_and_nbest(run: Generator) -> None:
    lines = run(joined(SENTENCES[:5]), beam=4, nbest=3)
    rows = [line.split("\t") for line in lines]
    records = [json.loads(line) for line in run(joined(SENTENCES[:5]), beam=4, nbest=3, format="jsonl")]
    assert [(int(number), float(score), text) for number, score, text in rows] == [
        (record["id"], pytest.approx(item["score"], abs=1e-4), item["text"])
        for record in records
        for item in record["nbest"]
    ]
    assert [int(number) for number, _, _ in rows] == [number for number in range(5) for _ in range(3)]
    assert run(joined(SENTENCES[:5]), beam=4) == [record["nbest"][0]["text"] for record in records]


def test_a_file(transformer: Generator, tmp_path: Path) -> None:
    (tmp_path / "in").write_text(joined(SENTENCES[:4]))
    assert transformer("", input=tmp_path / "in") == transformer(joined(SENTENCES[:4]))
    with pytest.raises(DataError, match="none: no such file"):
        transformer("", input=tmp_path / "none")


def test_long_lines_are_cut_as_in_training(transformer: Generator, tmp_path: Path) -> None:
    path = limited(transformer.path, tmp_path / "limited")
    lines = transformer("ba be bi da de\nba be bi\n", path=path)
    assert lines[0] == lines[1]
    assert (
        transformer.errors == "warning: line 1: 5 source tokens, cut to the 3 that the model was trained on\n"
    )
    path = limited(transformer.path, tmp_path / "warned", on_long="skip")
    lines = transformer("ba be bi da de\n", path=path)
    assert lines == transformer("ba be bi da de\n", path=transformer.path)


def test_the_output_never_outgrows_learned_positions(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in fairseq, the longest output is at most what the decoder has positions for, whatever --max-len-b says."""
    trainer = Trainer(toy_data, tmp_path)
    settings = {
        "model.positions": "learned",
        "model.max_source_positions": 12,
        "model.max_target_positions": 12,
    }
    trainer("run", **TRANSFORMER | settings, max_update=1)
    checkpoint = load_checkpoint(tmp_path / "run/checkpoint_last.safetensors")
    weights = {name: tensor.clone() for name, tensor in checkpoint.weights.items()}
    weights["decoder_layers.0.feed_forward_residual.norm.bias"] += 1
    weights["encoder_embedder.table.weight"][EOS] = -3  # so it never ends by itself
    save_checkpoint(tmp_path / "endless", replace(checkpoint, weights=weights))
    run = Generator(tmp_path / "endless", capsys, monkeypatch)
    for beam in (1, 3):
        for line in run(joined(SENTENCES[:5]), beam=beam, max_len_a=0.0, max_len_b=200):
            assert len(line.split()) == 11


def test_a_pipe(toy_runs: Path) -> None:
    """The command itself: text through a pipe, results alone on standard output, the order kept."""
    command = [
        sys.executable,
        "-m",
        "s2scli",
        "generate",
        "--path",
        str(toy_runs / "recurrent"),
        "--beam",
        "2",
    ]
    data = joined([*SENTENCES[:3], "", "caf\u00e9 ba"]).encode() + b"ba \xff be"
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 6
    assert lines[3] == ""
    assert done.stderr.decode().startswith("warning: standard input:6: the line is not UTF-8")


def test_an_answer_a_line_while_the_input_stays_open(toy_runs: Path, loaded_s2s: Path) -> None:
    """--follow: each line is answered before the next one is there."""
    command = [loaded_s2s, "generate", "--path", toy_runs / "recurrent", "--follow"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for line in SENTENCES[:3]:
                process.stdin.write(f"{line}\n".encode())
                process.stdin.flush()
                assert select.select([process.stdout], [], [], 60)[0], "no answer within a minute"
                assert process.stdout.readline().endswith(b"\n")
            process.stdin.close()
            assert process.stdout.read() == b""
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
