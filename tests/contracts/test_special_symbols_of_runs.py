"""Training and datasets with other special symbols, up to text that is generated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generating import Generator
from other_symbols import (
    RELABELLED,
    T5_LIKE,
    in_new_order,
    made,
    next_token,
    relabelled,
    tables,
)
from toys import TRANSFORMER, Trainer, preprocess_toys, random_ids, small_recurrent, small_transformer
from trained_runs import valid_loss

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.components import OBJECTIVES
from s2scli.configs.inspect import InspectConfig
from s2scli.configs.sampling import SamplingConfig
from s2scli.data.batch import Batch, pad_sequences
from s2scli.data.batching import load_batch
from s2scli.data.dataset import Dataset, ReadOptions
from s2scli.data.sentences import Sentences
from s2scli.errors import DataError
from s2scli.inspect import inspect
from s2scli.models.base import Model
from s2scli.schema import build
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols, Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.training.objectives.base import Objective


def words(symbols: SpecialSymbols, *known: str) -> WordTokenizer:
    return WordTokenizer(Vocabulary(known, [1] * len(known), symbols))


def pairs(symbols: SpecialSymbols) -> Batch:
    """Pairs of ordinary ids, whose numbers are the same with fairseq's symbols and when those are relabelled."""
    sources, targets = random_ids([3, 6, 1, 4], 9, seed=1), random_ids([2, 5, 3, 1], 8, seed=2)
    return Batch(pad_sequences(sources, symbols), pad_sequences(targets, symbols))


def objective_of(name: str, model: Model, **settings: Any) -> Objective:
    config = build(OBJECTIVES[name], settings)
    objective: Objective = config.builder(config, model)
    tokenizers: dict[str, Tokenizer] = {
        side: words(model.symbols, *(f"w{number}" for number in range(size - 4)))
        for side, size in (("source", 9), ("target", 8))
    }
    objective.use_tokenizers(tokenizers, Path("data"), right_to_left=False)
    return objective.train()


@pytest.mark.parametrize("family", ["transformer", "recurrent"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("label_smoothed_cross_entropy", {"label_smoothing": 0.1}),
        ("label_smoothed_cross_entropy", {"scheduled_sampling": "linear", "sampling_half_life": 5}),
        ("minimum_risk", {"risk_samples": 5, "risk_alpha": 0.5, "risk_metric": "chrf"}),
    ],
    ids=["cross entropy", "scheduled sampling", "minimum risk"],
)
def test_training_with_other_numbers_of_the_same_symbols(
    family: str, name: str, settings: dict[str, Any]
) -> None:
    """Three updates have the same losses, and come to the same weights in another order."""
    config = {"transformer": small_transformer(), "recurrent": small_recurrent()}[family]
    model = made(config, FAIRSEQ_SYMBOLS)
    other = relabelled(model, config)
    losses = []
    for each, symbols in ((model, FAIRSEQ_SYMBOLS), (other, RELABELLED)):
        objective, batch = objective_of(name, each, **settings), pairs(symbols)
        optimizer = torch.optim.SGD(each.parameters(), lr=0.02)
        for update in (4, 5, 6):
            torch.manual_seed(update)
            loss = objective(batch, update)
            optimizer.zero_grad()
            loss.loss.backward()
            optimizer.step()
            losses.append((loss.loss.item(), loss.nll.item(), loss.tokens))
    assert losses[:3] == [pytest.approx(item, rel=1e-4) for item in losses[3:]]
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)
    for ours, theirs in tables(model, other):
        torch.testing.assert_close(in_new_order(ours), theirs, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def t5_data(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the toy text over the vocabulary of another one, whose special symbols are like those of T5.

    Three words are not in it.
    """
    root = tmp_path_factory.mktemp("t5")
    known = Dataset.open(toy_data).tokenizer("source").vocabulary.ordinary_symbols[:-3]
    given = preprocess_toys(
        toy_data.parent,
        root / "given",
        tokenizer="word",
        joined_dictionary=True,
        source_lang="aa",
        target_lang="bb",
    )
    meta = json.loads((given / "meta.json").read_text())
    tokenizer = words(T5_LIKE, *known)
    for side in ("source", "target"):
        (given / f"{side}.tokenizer.json").write_bytes(tokenizer.to_bytes())
        meta["tokenizers"][side] |= {
            "fingerprint": tokenizer.fingerprint,
            "size": len(tokenizer),
            "special_symbols": asdict(T5_LIKE),
        }
    (given / "meta.json").write_text(json.dumps(meta))
    return preprocess_toys(
        toy_data.parent, root / "data", vocab_from=given, source_lang="aa", target_lang="bb", shortlist=4
    )


def test_the_dataset_has_the_symbols_of_the_vocabulary_it_was_given(t5_data: Path) -> None:
    dataset = Dataset.open(t5_data)
    tokenizer, split = dataset.tokenizer("target"), dataset.split("train")
    assert (tokenizer.special, split.special("source"), split.special("target")) == (T5_LIKE,) * 3
    batch = load_batch(split, np.arange(9))
    assert batch.target is not None
    for tokens, side in ((batch.source, "source"), (batch.target, "target")):
        longest = max(map(len, (split.text(side, row).split() for row in range(9)))) + 1
        for row, ids in enumerate(tokens.ids.tolist()):
            line = split.text(side, row).split()
            known = [
                tokenizer.vocabulary.symbols.index(word) if word in tokenizer.vocabulary else 2
                for word in line
            ]
            assert ids == [*known, 1, *[0] * (longest - len(line) - 1)]
    lines = [line.split() for line in split.texts("target")]
    unknown = sum(word not in tokenizer.vocabulary for line in lines for word in line)
    assert unknown
    assert dataset.meta["splits"]["train"]["num_unknown"]["target"] == unknown
    report = inspect(build(InspectConfig, {"path": t5_data}))
    assert report.splits["train"].sides["target"].num_unknown == unknown  # type: ignore[union-attr]
    counts = {word: sum(line.count(word) for line in lines) for word in tokenizer.vocabulary.ordinary_symbols}
    frequent = report.vocabularies["target"].frequent  # type: ignore[union-attr]
    assert {item.symbol: item.count for item in frequent} == counts
    most = max(
        sum(
            word not in tokenizer.vocabulary
            for side in ("source", "target")
            for word in split.text(side, row).split()
        )
        for row in range(len(split))
    )
    assert report.examples["unknown"][0].value == most  # type: ignore[union-attr]
    table = dataset.shortlist()
    assert table is not None
    assert table.frequent.tolist()[-3:] == [0, 1, 2]
    assert not np.isin(table.targets, [0, 1, 2]).any()
    assert (table.targets[:2] == -1).all()


def test_noise_and_copying_have_the_symbols_of_the_vocabularies(t5_data: Path) -> None:
    dataset = Dataset.open(t5_data)
    masked = Sentences.of(dataset, "train", SamplingConfig(word_mask=0.999), seed=1).read(np.arange(9), 1)
    for row, length in zip(masked.source.ids.tolist(), masked.source.lengths.tolist(), strict=True):
        assert row == [*[2] * (length - 1), 1, *[0] * (len(row) - length)]
    split, size = dataset.split("train", ReadOptions(copies=True)), len(dataset.tokenizer("target"))
    batch = load_batch(split, np.arange(9))
    assert batch.source.extended is not None
    assert int(batch.source.extended.max()) >= size
    for row, plain in zip(batch.source.extended.tolist(), batch.source.ids.tolist(), strict=True):
        assert [2 if token >= size else token for token in row] == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"special_symbols": asdict(RELABELLED)}, "not the tokenizer that the dataset was made with"),
        ({"size": 2}, "tokenizers.source.size = 2, but 3 symbols are special"),
    ],
)
def test_a_dataset_and_its_tokenizers_say_the_same(
    t5_data: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    meta = Dataset.open(t5_data).meta
    for entry in t5_data.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "meta.json").unlink()
    changed = {side: facts | change for side, facts in meta["tokenizers"].items()}
    (tmp_path / "meta.json").write_text(json.dumps({**meta, "tokenizers": changed}))
    with pytest.raises(DataError, match=message):
        Dataset.open(tmp_path).tokenizer("target")


@pytest.fixture(scope="module")
def t5_run(t5_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run on that dataset that has learned a little."""
    trainer = Trainer(t5_data, tmp_path_factory.mktemp("t5_run"))
    quick = {"optimizer.lr": 0.02, "model.dropout": 0.0, "log_interval": 100, "max_epoch": 8}
    trainer("run", **TRANSFORMER | quick)
    return trainer


def greedy_written_out(model: Model, tokenizer: Tokenizer, line: str) -> str:
    source, ids = tokenizer.encode(line), list[int]()
    while len(ids) < len(source) + 6:
        scores = next_token(model, source, ids)
        # The start symbol, which is padding too, is never written, and an output has a token.
        scores[0] = -math.inf
        scores[1] = scores[1] if ids else -math.inf
        token = scores.index(max(scores))
        if token == 1:
            break
        ids.append(token)
    return " ".join(tokenizer.vocabulary.symbols[token] for token in ids)


def test_from_text_to_text(t5_run: Trainer, generating: Callable[[Path], Generator]) -> None:
    """The loss that validation shows is that of the model by hand, and so are the outputs."""
    losses = [event["loss"] for event in t5_run.events("run", "valid")]
    assert losses[-1] < losses[0] - 0.3
    path = t5_run.root / "run" / "checkpoint_last.safetensors"
    checkpoint = load_checkpoint(path)
    tokenizer, model = checkpoint.tokenizers["target"], restore_model(checkpoint, path)
    assert (tokenizer.special, model.symbols, model.source_symbols) == (T5_LIKE,) * 3
    assert valid_loss(path, t5_run.data) == pytest.approx(losses[-1], abs=1e-4)
    lines = [*Dataset.open(t5_run.data).split("test").texts("source")]
    generate = generating(path)
    expected = [greedy_written_out(model, tokenizer, line) for line in lines]
    assert len(set(expected)) > len(lines) / 2
    assert generate("".join(f"{line}\n" for line in lines), beam=1) == expected
    assert (
        f"{sum('<unk>' in tokenizer.pieces(tokenizer.encode(line)) for line in lines)} lines held"
        in generate.errors
    )
    beams = generate("\n".join(lines), beam=3)
    assert generate("\n".join(lines), beam=3, path=f"{path}:{path}") == beams
    assert len(generate("\n".join(lines), beam=3, shortlist=4, shortlist_frequent=2)) == len(lines)


def test_records_of_other_symbols(
    t5_run: Trainer, generating: Callable[[Path], Generator], tmp_path: Path
) -> None:
    """References are scored up to the end symbol; unknown tokens are replaced, or excluded."""
    path = t5_run.root / "run" / "checkpoint_last.safetensors"
    checkpoint = load_checkpoint(path)
    tokenizer, model = checkpoint.tokenizers["target"], restore_model(checkpoint, path)
    generate = generating(path)
    source, reference = "ba zzz be", "be zzz ba"
    text = json.dumps({"source": source, "reference": reference})
    (line,) = generate(text, input_format="jsonl", score_reference=True, format="jsonl")
    record, ids = json.loads(line), [*tokenizer.encode(reference), 1]
    wanted = [next_token(model, tokenizer.encode(source), ids[:at])[token] for at, token in enumerate(ids)]
    assert record["token_scores"] == pytest.approx(wanted, abs=1e-4)
    assert record["tokens"][-1] == "</s>"
    lines = "\n".join(Dataset.open(t5_run.data).split("test").texts("source"))
    (line, *_) = generate(lines, format="jsonl", print_attention=True, beam=1)
    assert json.loads(line)["source_tokens"][-1] == "</s>"
    assert any("<unk>" in output for output in generate(lines, beam=1))
    assert not any("<unk>" in output for output in generate(lines, beam=1, replace_unk=True))
    (tmp_path / "bad").write_text("<unk>\n")
    assert not any("<unk>" in output for output in generate(lines, beam=1, bad_tokens=tmp_path / "bad"))
    (tmp_path / "bad").write_text("</s>\n")
    with pytest.raises(DataError, match="every output ends with '</s>'"):
        generate(lines, bad_tokens=tmp_path / "bad")
