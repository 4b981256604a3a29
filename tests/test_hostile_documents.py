"""Whatever a document that was read from a file says, it is used or refused in one clear line, and never believed."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import WRONG, Safetensors, damaged, lies, problems, write_json
from toys import small_transformer, write_dataset

from s2scli.checkpoint import Checkpoint, load_checkpoint, restore_model, save_checkpoint
from s2scli.components import TOKENIZERS
from s2scli.configs.inspect import InspectConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.batching import plan_batches
from s2scli.data.dataset import Dataset
from s2scli.data.facts import ModelColumns
from s2scli.data.layout import ColumnLayout
from s2scli.data.progress import read_progress
from s2scli.data.sentences import read_pairs
from s2scli.inspect import inspect, show
from s2scli.models.factory import build_model, unique_parameters
from s2scli.plotting.history import read_events
from s2scli.schema import as_dict, build
from s2scli.text.library import LibraryTokenizer
from s2scli.text.normalization import Normalization
from s2scli.text.subword_sampling import SubwordSampling
from s2scli.text.tokenizer import LearningSettings, load_tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.training.run import dataset_facts
from s2scli.training.state import Position, saved_run

ENDINGS = ColumnLayout.of_ids(9).endings
FILES = (
    *(f"train/main-00000/{column}.{ending}" for column in ("source", "target", "tag") for ending in ENDINGS),
    *("source.tokenizer.json", "shortlist.targets", "shortlist.frequent", "meta.json"),
)
# Each key gets some of the wrong values by turns, and in the slow test all.
SOME_OR_ALL = pytest.mark.parametrize("each", [2, pytest.param(len(WRONG), marks=pytest.mark.slow)])
FEW = (None, True, -1, 10**30, float("nan"), "x", [], {})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset with tags, context and a table of translations."""
    root = tmp_path_factory.mktemp("hostile")
    return write_dataset(root, sizes=(30, 6, 4), shortlist=2, context_lines=1, source_tag="<a>")


@pytest.fixture(scope="module")
def checkpoint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Safetensors:
    """A checkpoint with all that there can be in one."""
    dataset = Dataset.open(data)
    values = {f"model.{key}": value for key, value in as_dict(small_transformer()).items()}
    config = TrainConfig.resolve({}, {"data": data, "arch": "transformer_tiny", **values})
    tokenizers = {side: dataset.tokenizer(side) for side in dataset.sides}
    model = build_model(config.model, ModelColumns.of(tokenizers))
    weights = {name: parameter.detach() for name, parameter in unique_parameters(model).items()}
    state = {"processes": 1, "schedule": {}, "loss_scale": {"value": 1.0, "good_updates": 3}}
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint_last.safetensors"
    save_checkpoint(
        path,
        Checkpoint(
            config=as_dict(config),
            tokenizers=tokenizers,
            dataset=dataset_facts(
                dataset, {"train": "train", "valid": "valid"}, dataset.sides, dataset.meta["limits"]
            )
            | {"longest": {"source": 9, "target": 8}},
            weights=weights,
            run={**Position(best=2.5, update=7).as_dict(), **state},
            resumable=True,
            optimizer={f"exp_avg.{name}": torch.zeros_like(item) for name, item in weights.items()},
        ),
    )
    return Safetensors(path)


def use_checkpoint(path: Path) -> None:
    """Describe it, and load it as to generate and to go on with."""
    config = build(InspectConfig, {"path": path})
    show(config, inspect(config))
    loaded = load_checkpoint(path, resume=True)
    saved_run(loaded, path)
    restore_model(loaded, path)


@SOME_OR_ALL
@pytest.mark.parametrize("document", ["config", "dataset", "run", "resumable"])
def test_headers_that_lie(checkpoint: Safetensors, document: str, each: int) -> None:
    metadata = checkpoint.metadata
    values = json.loads(metadata[document])

    def write(changed: Any) -> None:
        checkpoint.write({**metadata, document: json.dumps(changed)})

    cases = lies(values, wrong=FEW if document == "config" else WRONG, each=each)
    number, found = problems(cases, write, lambda: use_checkpoint(checkpoint.path))
    assert number >= each
    assert not found


def test_a_header_with_flipped_bits(checkpoint: Safetensors) -> None:
    checkpoint.write(checkpoint.metadata)
    whole = checkpoint.path.read_bytes()
    header = len(whole) - len(checkpoint.tensors)
    cases = [(name, data + checkpoint.tensors) for name, data in damaged(whole[:header], 80)]
    _, found = problems(cases, checkpoint.path.write_bytes, lambda: use_checkpoint(checkpoint.path))
    assert not found


def use_dataset(path: Path) -> None:
    """Describe it, and read it as to train on it."""
    config = build(InspectConfig, {"path": path})
    show(config, inspect(config))
    dataset = Dataset.open(path)
    dataset.shortlist()
    for name in dataset.splits:
        split = dataset.split(name)
        plan = plan_batches(split, max_tokens=100, batch_size=8, seed=1, stretch=True)
        for batch in plan.in_order():
            read_pairs(split, batch)
        for column in split.text_columns:
            list(split.texts(column))


@SOME_OR_ALL
def test_a_meta_json_that_lies(data: Path, tmp_path: Path, each: int) -> None:
    path = shutil.copytree(data, tmp_path / "data")
    values = json.loads((path / "meta.json").read_text())
    _, found = problems(lies(values, each=each), write_json(path / "meta.json"), lambda: use_dataset(path))
    assert not found


@pytest.mark.parametrize("name", FILES)
def test_files_with_flipped_bits(data: Path, tmp_path: Path, name: str) -> None:
    """Of the same size, so that only reading can tell; and cut short."""
    path = shutil.copytree(data, tmp_path / "data")
    file = path / name
    _, found = problems(damaged(file.read_bytes(), 8), file.write_bytes, lambda: use_dataset(path))
    assert not found


@pytest.mark.parametrize("kind", [*TOKENIZERS])
def test_a_tokenizer_that_lies(kind: str) -> None:
    document = tokenizer_document(kind)
    found: list[Any] = []
    use = lambda: load_tokenizer(found[-1]).encode_all(["a b c <x>", ""])  # noqa: E731
    _, lied = problems(lies(document), lambda values: found.append(json.dumps(values).encode()), use)
    _, broke = problems(damaged(json.dumps(document).encode(), 60), found.append, use)
    assert not lied + broke


def test_a_model_of_subwords_with_flipped_bits() -> None:
    """SentencePiece takes some that are broken, of which sampling cannot be made."""
    document = tokenizer_document("sentencepiece")
    found: list[bytes] = []

    def use() -> None:
        model = base64.b64encode(found[-1]).decode()
        tokenizer = load_tokenizer(json.dumps(document | {"model": model}).encode())
        sampling = SubwordSampling(tokenizer, alpha=0.1, dropout=0.1, side="source")
        sampling.encode("a b c d e", iter([0.1, 0.5, 0.7] * 400))

    _, broke = problems(damaged(base64.b64decode(document["model"]), 300), found.append, use)
    # The kind of a model may be flipped into one that has nothing to sample.
    assert not [line for line in broke if "of kind" not in line]


def tokenizer_document(kind: str) -> dict[str, Any]:
    """What a tokenizer of a few words has written."""
    text = ["a b c d e", "a b <x> c", "d e f g a b"]
    settings = LearningSettings(user_symbols=("<x>",), vocab_size=16)
    if kind == "sentencepiece with a language code":
        return tokenizer_document("given sentencepiece") | {"kind": kind, "first_symbol": "<x>"}
    if kind == "tokenizers":
        library = pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
        pieces = library.ByteLevelBPETokenizer()
        pieces.train_from_iterator(text, vocab_size=260, show_progress=False)
        symbols = sorted(pieces.get_vocab())
        return LibraryTokenizer(pieces.to_str(), Vocabulary(symbols, [0] * len(symbols))).document()
    if kind == "given sentencepiece":
        model = base64.b64decode(tokenizer_document("sentencepiece")["model"])
        settings = LearningSettings(user_symbols=("<x>",), model=model)
    learnt = TOKENIZERS[kind].learn(
        lambda: iter([[line] for line in text]), settings, Normalization(stopwords=("a",))
    )
    document: dict[str, Any] = learnt.document()
    return document


def test_a_log_that_lies(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    events = [
        {"event": "train", "update": 1, "loss": 2.5, "seconds": 1.0},
        {"event": "valid", "update": 1, "epoch": 1},
    ]

    def write(values: Any) -> None:
        log.write_text("".join(f"{json.dumps(item)}\n" for item in (events[0], values, events[1])))

    _, found = problems(lies(events[0]), write, lambda: read_events(log))
    lines = [(name, data + b"\n{}") for name, data in damaged(json.dumps(events[0]).encode(), 60)]
    _, broke = problems(lines, log.write_bytes, lambda: read_events(log))
    assert not found + broke


def test_progress_that_lies(tmp_path: Path) -> None:
    """What a killed process noted is believed as a whole or not at all."""
    shard = {"num_examples": 3, "longest": {"target": 4}, "last_ends": {}, "sizes": {"target.ids": 8}}
    values = {
        "fingerprint": "f",
        "done": {"train/main": 3},
        "splits": {"train": {"main": {"shards": [], "current": shard}}},
        "dropped": {"copy": 1},
        "truncated": {"train": {"source": 1}},
        "truncated_tokens": {"train": {"source": 9}},
        "samples": {"copy": [{"line": 1}]},
        "rejects_size": 5,
        "sources": {"train": {"frames": 9}},
        "statistics": {"count": 2, "mean": [0.5], "squares": [1.0]},
    }
    write = write_json(tmp_path / "progress.json")
    write(values)
    assert read_progress(tmp_path, "f") == values
    assert read_progress(tmp_path, "another") is None
    for name, changed in lies(values):
        write(changed)
        found = read_progress(tmp_path, "f")
        assert found is None or found.keys() == values.keys(), name
        assert found is None or isinstance(found["splits"], dict), name
