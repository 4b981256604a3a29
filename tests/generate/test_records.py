"""`generate` of records and datasets: what a record holds, tags and context, prefixes, references."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fairseq_symbols import EOS
from generating import SENTENCES, Generator, joined
from toys import TRANSFORMER, WORDS, Trainer, log_probabilities, write_dataset

from s2scli.checkpoint import load_checkpoint, restore_model, save_checkpoint
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError, UsageError


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


def test_a_model_of_several_languages_must_be_told_which(
    toy_runs: Path, toy_data: Path, tmp_path: Path, generating: Callable[[Path], Generator]
) -> None:
    checkpoint = load_checkpoint(toy_runs / "transformer/checkpoint_best.safetensors")
    for number, tags in enumerate((["<2aa>", "<2bb>"], ["<bt>", "<2bb>"])):
        path = tmp_path / f"{number}.safetensors"
        dataset = {**checkpoint.dataset, "source_form": {"tags": tags}}
        save_checkpoint(path, replace(checkpoint, dataset=dataset))
    with pytest.raises(UsageError, match="no symbol says which; give --source-tag, one of <2aa>, <2bb>"):
        generating(tmp_path / "0.safetensors")("ba\n")
    with pytest.raises(UsageError, match="no symbol says which language each source is to be in"):
        generating(tmp_path / "0.safetensors")("", data=toy_data)
    # A tag that is no language's is for some sources only.
    assert generating(tmp_path / "1.safetensors")("ba\n")


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
