"""`generate`: N lines in, N lines out, in order, whatever the lines are and however they are batched."""

from __future__ import annotations

import io
import json
import math
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import TRANSFORMER, WORDS, Trainer, log_probabilities, reversed_pairs, write_dataset

from s2scli.checkpoint import load_checkpoint, restore_model, save_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, DataError, S2SError, UsageError
from s2scli.generate import generate
from s2scli.schema import build
from s2scli.text.vocabulary import EOS

SENTENCES = reversed_pairs(40, 8, seed=77)[0]


class Generator:
    """Runs generate on some text given as standard input, and returns what it printed."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.path, self.capsys, self.monkeypatch = path, capsys, monkeypatch
        self.errors = ""

    def __call__(self, text: bytes | str, **settings: Any) -> list[str]:
        data = text.encode() if isinstance(text, str) else text
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        values = {"path": self.path, "device": "cpu", "max_len_a": 1.0, "max_len_b": 5} | settings
        result = generate(build(GenerateConfig, values))
        out, self.errors = self.capsys.readouterr()
        assert out == "" or out.endswith("\n")
        lines = out.split("\n")[:-1]
        is_line_a_record = settings.get("format") == "jsonl" or settings.get("nbest", 1) == 1
        if (
            is_line_a_record
            and settings.get("format") not in ("fairseq", "table")
            and "output" not in settings
        ):
            assert result.lines == len(lines)
        return lines


@pytest.fixture(params=["transformer", "recurrent"])
def run(
    request: pytest.FixtureRequest,
    toy_runs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Generator:
    return Generator(toy_runs / request.param, capsys, monkeypatch)


@pytest.fixture
def transformer(
    toy_runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Generator:
    return Generator(toy_runs / "transformer", capsys, monkeypatch)


def joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_a_line_for_each_line(run: Generator) -> None:
    lines = run(joined(SENTENCES))
    assert len(lines) == len(SENTENCES)
    assert all(set(line.split()) <= set(WORDS) for line in lines)
    assert len(set(lines)) > 15, "the model must say different things, or order would not show"
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


def test_records(run: Generator) -> None:
    """Every field, and the score held against the model's own probabilities of what it says."""
    checkpoint = load_checkpoint(run.path / "checkpoint_best.safetensors")
    model = restore_model(checkpoint, run.path)
    source, target = checkpoint.tokenizers["source"], checkpoint.tokenizers["target"]
    for number, line in enumerate(run(joined(SENTENCES[:8]), format="jsonl", nbest=2, lenpen=0.5)):
        record = json.loads(line)
        assert set(record) == {"version", "id", "source", "text", "score", "tokens", "token_scores", "nbest"}
        assert (record["version"], record["id"], record["source"]) == (1, number, SENTENCES[number])
        assert record["tokens"][-1] == "</s>"
        assert record["text"] == " ".join(record["tokens"][:-1])
        assert record["nbest"][0] == {"text": record["text"], "score": record["score"]}
        assert record["nbest"][0]["score"] >= record["nbest"][1]["score"]
        ids = [target.vocabulary.lookup(token) for token in record["tokens"][:-1]]
        rows = log_probabilities(model, source.encode(SENTENCES[number]), [ids])[0]
        expected = [rows[position, token].item() for position, token in enumerate([*ids, EOS])]
        assert record["token_scores"] == pytest.approx(expected, abs=1e-4)
        assert record["score"] == pytest.approx(sum(expected) / len(expected) ** 0.5, abs=1e-4)
    (single,) = run(f"{SENTENCES[0]}\n", format="jsonl")
    assert "nbest" not in json.loads(single)


def test_a_split_of_the_dataset(run: Generator, toy_data: Path) -> None:
    split = Dataset.open(toy_data).split("test")
    sources, references = list(split.texts("source")), list(split.texts("target"))
    expected = run(joined(sources))
    assert run("", data=toy_data) == expected
    records = [json.loads(line) for line in run("", data=toy_data, format="jsonl")]
    assert [record["text"] for record in records] == expected
    assert [(record["source"], record["reference"]) for record in records] == list(
        zip(sources, references, strict=True)
    )
    assert run("", data=toy_data, gen_subset="valid") == run(
        joined(list(Dataset.open(toy_data).split("valid").texts("source")))
    )
    with pytest.raises(DataError, match="no split 'tset'; did you mean test"):
        run("", data=toy_data, gen_subset="tset")


def test_a_file(transformer: Generator, tmp_path: Path) -> None:
    (tmp_path / "in").write_text(joined(SENTENCES[:4]))
    assert transformer("", input=tmp_path / "in") == transformer(joined(SENTENCES[:4]))
    with pytest.raises(DataError, match="none: no such file"):
        transformer("", input=tmp_path / "none")


def test_the_best_checkpoint_of_a_folder(transformer: Generator, toy_runs: Path) -> None:
    folder = toy_runs / "transformer"
    best = transformer(joined(SENTENCES), path=folder / "checkpoint_best.safetensors")
    assert transformer(joined(SENTENCES), path=folder) == best
    assert transformer(joined(SENTENCES), path=folder / "checkpoint10.safetensors") != best


def test_a_checkpoint_is_all_that_is_needed(transformer: Generator, toy_runs: Path, tmp_path: Path) -> None:
    """It is moved away from its run and its dataset, and gives the same."""
    expected = transformer(joined(SENTENCES))
    alone = tmp_path / "model.safetensors"
    alone.write_bytes((toy_runs / "transformer/checkpoint_best.safetensors").read_bytes())
    assert transformer(joined(SENTENCES), path=alone) == expected


def limited(source: Path, path: Path, **limits: Any) -> Path:
    checkpoint = load_checkpoint(source / "checkpoint_best.safetensors")
    values = {"max_source_length": 3, "max_target_length": 0, "on_long": "truncate"} | limits
    save_checkpoint(path, replace(checkpoint, dataset={**checkpoint.dataset, "limits": values}))
    return path


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


def test_another_vocabulary(transformer: Generator, tmp_path: Path) -> None:
    other = write_dataset(tmp_path, sizes=(60, 5, 5), nwordssrc=12)
    with pytest.raises(
        CheckpointError,
        match=r"trained with source vocabulary \w+ \(.*\), but .* has \w+ \(.*\): the first symbol that differs, "
        r"number 6, is 'ki' there and 'de' here; use the dataset",
    ) as raised:
        transformer("", data=other)
    assert "\n" not in str(raised.value)
    (tmp_path / "copy").mkdir()
    same_vocabulary = write_dataset(tmp_path / "copy", copy=True)
    assert len(transformer("", data=same_vocabulary)) == 16


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"path": Path("nowhere")}, CheckpointError, "nowhere: no such checkpoint"),
        ({"path": Path(__file__).parent}, CheckpointError, "the folder has no checkpoint_best"),
        ({"path": Path(__file__)}, CheckpointError, "not a checkpoint, or cut short"),
        ({"data": Path("nowhere")}, DataError, "no such dataset folder"),
        ({"nbest": 9}, UsageError, "--nbest 9 needs a beam at least as wide"),
        ({"device": "cuda:63"}, UsageError, "--device cuda:63 cannot be used here"),
        ({"beam": 0}, UsageError, "beam = 0 is not allowed"),
    ],
)
def test_settings_that_cannot_be(
    transformer: Generator, settings: dict[str, Any], error: type[S2SError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        transformer(joined(SENTENCES), **settings)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_of_another_shape(transformer: Generator, toy_runs: Path, tmp_path: Path) -> None:
    source, path = toy_runs / "transformer/checkpoint_best.safetensors", tmp_path / "changed"
    with safe_open(source, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(source)
    tensors["model.encoder_embedder.table.weight"] = torch.zeros(17, 16)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(
        CheckpointError, match=r"table.weight has shape \(17, 16\), the model wants \(16, 16\)"
    ):
        transformer("", path=path)


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


def test_an_answer_a_line_while_the_input_stays_open(toy_runs: Path) -> None:
    """--follow: each line is answered before the next one is there."""
    command = [sys.executable, "-m", "s2scli", "generate", "--path", str(toy_runs / "recurrent"), "--follow"]
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


def test_sources_are_composed_as_those_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed lines get their context and tag, and are what a dataset's are; a tag that is typed is one too."""
    data = write_dataset(tmp_path, source_tag=("<2bb>",), context_lines=2, max_source_length=20)
    Trainer(data, tmp_path)("run", **TRANSFORMER, max_update=1)
    generator = Generator(tmp_path / "run", capsys, monkeypatch)
    lines = (tmp_path / "test.aa").read_text().split("\n")[:-1]
    found = [json.loads(line) for line in generator("\n".join(lines), source_tag="<2bb>", format="jsonl")]
    expected = [json.loads(line) for line in generator("", data=data, format="jsonl")]
    for one, other in zip(found, expected, strict=True):
        assert (one["source"], one["tokens"]) == (other["source"], other["tokens"])
    assert found[2]["source"] == f"<2bb> {lines[0]} <sep> {lines[1]} <sep> {lines[2]}"
    assert any(len(record["source"].split()) > 20 for record in found)
    blank = [json.loads(line) for line in generator(f"{lines[0]}\n\n{lines[1]}\n", format="jsonl")]
    assert [record["source"] for record in blank] == [lines[0], "", lines[1]]
    with pytest.raises(
        UsageError, match="--source-tag <2cc>: the model was trained on sources with these tags: <2bb>"
    ):
        generator("a\n", source_tag="<2cc>")
    with pytest.raises(UsageError, match="--source-tag is for text"):
        generator("", data=data, source_tag="<2bb>")


def test_several_checkpoints_are_an_ensemble(
    trained: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("run", **TRANSFORMER, max_update=30)
    last = trained.root / "run" / "checkpoint_last.safetensors"
    first = Generator(last, capsys, monkeypatch)
    text = "\n".join(SENTENCES)
    alone = [json.loads(line) for line in first(text, format="jsonl")]
    twice = Generator(Path(f"{last}:{last}"), capsys, monkeypatch)
    for one, other in zip(alone, [json.loads(line) for line in twice(text, format="jsonl")], strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["token_scores"] == pytest.approx(other["token_scores"], abs=1e-4)
    Trainer(trained.data, tmp_path)("other", **TRANSFORMER, seed=9, max_update=30)
    both = Generator(Path(f"{last}:{tmp_path / 'other'}"), capsys, monkeypatch)
    mixed = [json.loads(line) for line in both(text, format="jsonl")]
    assert [record.get("token_scores") for record in mixed] != [
        record.get("token_scores") for record in alone
    ]
    data = write_dataset(tmp_path, seed=3, sizes=(20, 4, 4), tokenizer="character")
    Trainer(data, tmp_path)("foreign", **TRANSFORMER, max_update=1)
    with pytest.raises(CheckpointError, match="the models of an ensemble are trained on one dataset"):
        Generator(Path(f"{last}:{tmp_path / 'foreign'}"), capsys, monkeypatch)("a\n")
    with pytest.raises(CheckpointError, match="nowhere: no such checkpoint"):
        Generator(Path(f"{last}:nowhere"), capsys, monkeypatch)("a\n")


def test_samples_and_prefixes_from_the_command(
    trained: Trainer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("run", **TRANSFORMER, max_update=30)
    generator = Generator(trained.root / "run", capsys, monkeypatch)
    text = "\n".join(SENTENCES)
    settings = {"sampling": True, "temperature": 2.0}
    sampled = generator(text, **settings)
    assert sampled == generator(text, **settings, batch_size=3, buffer_size=7)
    assert sampled != generator(text, **settings, seed=2)
    word = WORDS[3]
    assert all(line.split()[0] == word for line in generator(text, target_prefix=word))


def test_references_are_scored(
    trained: Trainer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their perplexity is the run's own, and each token's score is that of teacher forcing, one pair at a time."""
    trained("run", **TRANSFORMER, max_update=30)
    last = trained.root / "run" / "checkpoint_last.safetensors"
    generator = Generator(last, capsys, monkeypatch)
    settings = {"data": trained.data, "gen_subset": "valid", "score_reference": True}
    records = [json.loads(line) for line in generator("", **settings, format="jsonl", batch_size=7)]
    scores = [score for record in records for score in record["token_scores"]]
    validated = trained.events("run", "valid")[-1]
    assert math.exp(-sum(scores) / len(scores)) == pytest.approx(validated["ppl"], rel=1e-3)
    checkpoint = load_checkpoint(last)
    model = restore_model(checkpoint, trained.root)
    for record in records[:5]:
        assert record["text"] == record["reference"]
        ids = [
            checkpoint.tokenizers[side].encode(record[name])
            for side, name in (("source", "source"), ("target", "text"))
        ]
        (rows,) = log_probabilities(model, ids[0], [ids[1]])
        expected = [rows[at, token].item() for at, token in enumerate([*ids[1], EOS])]
        assert record["token_scores"] == pytest.approx(expected, abs=1e-4)
        assert record["score"] == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    text = generator("", **settings)
    assert [line.split("\t")[1] for line in text] == [record["reference"] for record in records]
    assert float(text[0].split("\t")[0]) == pytest.approx(records[0]["score"], abs=1e-4)
    with pytest.raises(UsageError, match="line 1 has no reference to score"):
        generator("a\n", score_reference=True)
