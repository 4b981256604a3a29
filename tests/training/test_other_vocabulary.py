"""Beginning with the weights of a model that has another vocabulary: which row each symbol gets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from begun_runs import QUICK, one_line
from process_pairs import assert_close, together
from torch import Tensor
from toys import BAHDANAU, CONVOLUTIONAL, LANGUAGE_MODEL, TRANSFORMER, Trainer, assert_same_run, write_dataset

from s2scli.checkpoint import Checkpoint
from s2scli.checkpoint_file import BEST
from s2scli.configs.train import TrainConfig
from s2scli.data.facts import ModelColumns
from s2scli.errors import CheckpointError, UsageError
from s2scli.models.base import Model
from s2scli.models.factory import build_model, kept_tensors
from s2scli.schema import as_dict
from s2scli.text.character import CharacterTokenizer
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.training.other_vocabulary import fitted_weights

PATH, DATA = Path("parent.safetensors"), Path("data")
SPECIAL = [[0], [1], [2], [3]]


def characters(symbols: Sequence[str]) -> Tokenizer:
    return CharacterTokenizer(Vocabulary(symbols, [0] * len(symbols)))


def words(*symbols: str) -> Tokenizer:
    return WordTokenizer(Vocabulary(symbols, [0] * len(symbols)))


# The characters of the parent, and for each side of the child what its rows are the mean of, by the parent's ids; the
# child's words are written out, "é" is of no use, and "<s>" stands for nothing.
SOURCE, TARGET = characters([*" abc", " c"]), characters("ba d")
CHILD_SOURCE, SOURCE_ROWS = words("ab", "é", "c"), [[4, 5, 6], [], [8]]
CHILD_TARGET, TARGET_ROWS = characters("da b!"), [[7], [5], [6], [4], []]
JOINED, JOINED_ROWS = characters("cbx"), [[7], [6], []]


def model_of(seed: int, tokenizers: Mapping[str, Tokenizer], **settings: Any) -> tuple[TrainConfig, Model]:
    config = TrainConfig.resolve({}, {"data": DATA, **settings})
    one = len({id(item) for item in tokenizers.values()}) == 1
    torch.manual_seed(seed)
    model = build_model(config.model.settled(one_vocabulary=one), ModelColumns.of(tokenizers))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape)
    return config, model


def parent_of(tokenizers: Mapping[str, Tokenizer], **settings: Any) -> Checkpoint:
    config, model = model_of(1, tokenizers, **settings)
    one = len({id(item) for item in tokenizers.values()}) == 1
    values = as_dict(config) | {"model": as_dict(config.model.settled(one_vocabulary=one))}
    dataset = {"limits": {"on_long": "error"}, "source_lang": "", "target_lang": ""}
    weights = {name: item.detach().clone() for name, item in kept_tensors(model).items()}
    return Checkpoint(config=values, tokenizers=tokenizers, dataset=dataset, weights=weights)


def expected(fresh: Tensor, theirs: Tensor, rows: Sequence[Sequence[int]], *, zero: bool) -> Tensor:
    """The rows as they are written out above; what has none is fresh."""
    found = fresh.detach().clone()
    for number, pieces in enumerate([[], *SPECIAL[1:], *rows]):
        if pieces:
            found[number] = sum(theirs[piece] for piece in pieces) / len(pieces)
    if zero:
        found[1] = 0
    return found


FAMILIES = {"transformer": TRANSFORMER, "recurrent": BAHDANAU, "convolutional": CONVOLUTIONAL}
SEPARATE = {"model.share_all_embeddings": False}
UNTIED = SEPARATE | {"model.share_decoder_input_output_embed": False, "model.output_bias": True}


def table(model: Model, side: str) -> str:
    names = {id(item): name for name, item in model.named_parameters()}
    return names[id(model.embeddings[side].weight)]


@pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
def test_each_side_is_matched_by_itself_and_so_are_output_weights_and_biases(
    settings: dict[str, Any],
) -> None:
    settings = settings | UNTIED
    parent = parent_of({"source": SOURCE, "target": TARGET}, **settings)
    tokenizers = {"source": CHILD_SOURCE, "target": CHILD_TARGET}
    model = model_of(2, tokenizers, **settings)[1]
    weights = fitted_weights(parent, PATH, model, tokenizers, DATA)
    own = kept_tensors(model)
    of_vocabulary = {
        table(model, "source"): SOURCE_ROWS,
        table(model, "target"): TARGET_ROWS,
        "output.weight": TARGET_ROWS,
        "output.bias": TARGET_ROWS,
    }
    assert weights.keys() == own.keys()
    for name, rows in of_vocabulary.items():
        wanted = expected(own[name], parent.weights[name], rows, zero="output" not in name)
        assert torch.allclose(weights[name], wanted, atol=1e-6), name
    for name in weights.keys() - of_vocabulary.keys():
        assert weights[name] is parent.weights[name]


def test_a_language_model_has_one_side() -> None:
    parent = parent_of({"target": TARGET}, **LANGUAGE_MODEL)
    model = model_of(2, {"target": CHILD_TARGET}, **LANGUAGE_MODEL)[1]
    weights = fitted_weights(parent, PATH, model, {"target": CHILD_TARGET}, DATA)
    name = table(model, "target")
    wanted = expected(kept_tensors(model)[name], parent.weights[name], TARGET_ROWS, zero=True)
    assert torch.allclose(weights[name], wanted, atol=1e-6)


def test_one_table_of_a_joined_vocabulary_stays_one() -> None:
    both, child = {"source": SOURCE, "target": SOURCE}, {"source": JOINED, "target": JOINED}
    parent, model = parent_of(both, **TRANSFORMER), model_of(2, child, **TRANSFORMER)[1]
    weights = fitted_weights(parent, PATH, model, child, DATA)
    assert weights.keys() == kept_tensors(model).keys()
    name = table(model, "source")
    assert name == table(model, "target")
    wanted = expected(kept_tensors(model)[name], parent.weights[name], JOINED_ROWS, zero=True)
    assert torch.allclose(weights[name], wanted, atol=1e-6)


def test_what_was_tied_and_is_not_is_taken_for_each_side() -> None:
    parent = parent_of({"source": SOURCE, "target": SOURCE}, **TRANSFORMER)
    tokenizers = {"source": CHILD_SOURCE, "target": JOINED}
    settings = TRANSFORMER | SEPARATE | {"model.share_decoder_input_output_embed": False}
    model = model_of(2, tokenizers, **settings)[1]
    weights, own = fitted_weights(parent, PATH, model, tokenizers, DATA), kept_tensors(model)
    assert weights.keys() == own.keys()
    theirs = parent.weights["encoder_embedder.table.weight"]
    for name, rows in (
        (table(model, "source"), SOURCE_ROWS),
        (table(model, "target"), JOINED_ROWS),
        ("output.weight", JOINED_ROWS),
    ):
        wanted = expected(own[name], theirs, rows, zero="output" not in name)
        assert torch.allclose(weights[name], wanted, atol=1e-6)


def test_what_is_tied_and_was_not_has_the_rows_of_the_target_first() -> None:
    """Of "c", "b" and "x" the target has "b", and the source "c" too."""
    parent = parent_of({"source": SOURCE, "target": TARGET}, **TRANSFORMER)
    child = {"source": JOINED, "target": JOINED}
    model = model_of(2, child, **TRANSFORMER)[1]
    weights = fitted_weights(parent, PATH, model, child, DATA)
    name = table(model, "source")
    wanted = kept_tensors(model)[name].detach().clone()
    target = parent.weights["decoder_embedder.table.weight"]
    wanted[2:4], wanted[5] = target[2:4], target[4]
    wanted[4] = parent.weights["encoder_embedder.table.weight"][7]
    wanted[1] = 0
    assert torch.equal(weights[name], wanted)


def test_a_ctc_head_keeps_the_row_of_its_blank() -> None:
    settings = TRANSFORMER | SEPARATE
    parent = parent_of({"source": SOURCE, "target": TARGET}, **settings)
    head = torch.randn(len(TARGET) + 1, 16), torch.randn(len(TARGET) + 1)
    names = ("head.ctc.weight", "head.ctc.bias")
    parent = replace(parent, weights={**parent.weights, **dict(zip(names, head, strict=True))})
    tokenizers = {"source": CHILD_SOURCE, "target": CHILD_TARGET}
    config = TrainConfig.resolve({}, {"data": DATA, **settings})
    model = build_model(config.model, ModelColumns.of(tokenizers), ["ctc"])
    weights = fitted_weights(parent, PATH, model, tokenizers, DATA)
    for name, theirs in zip(names, head, strict=True):
        wanted = expected(kept_tensors(model)[name], theirs, TARGET_ROWS, zero=False)
        wanted[-1] = theirs[-1]
        assert torch.allclose(weights[name], wanted, atol=1e-6)


def test_a_side_may_begin_anew(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizers = {"source": SOURCE, "target": TARGET}
    parent, model = parent_of(tokenizers, **TRANSFORMER), model_of(2, tokenizers, **TRANSFORMER)[1]
    weights, own = fitted_weights(parent, PATH, model, tokenizers, DATA, anew="target"), kept_tensors(model)
    source, target = table(model, "source"), table(model, "target")
    assert torch.equal(weights[source][1:], parent.weights[source][1:] * (torch.arange(1, 9) != 1)[:, None])
    assert torch.equal(weights[target][2:], own[target][2:])
    assert (
        "target: of 4 symbols 0 begin with their rows of parent.safetensors, 0 with"
        in capsys.readouterr().err
    )


def test_one_side_of_a_table_of_both_cannot_begin_anew() -> None:
    both, child = (dict.fromkeys(("source", "target"), item) for item in (SOURCE, CHILD_SOURCE))
    parent, model = parent_of(both, **TRANSFORMER), model_of(2, child, **TRANSFORMER)[1]
    with pytest.raises(
        UsageError, match="--new-embeddings target: source and target share a table of the model"
    ):
        fitted_weights(parent, PATH, model, child, DATA, anew="target")
    weights, own = fitted_weights(parent, PATH, model, child, DATA, anew="both"), kept_tensors(model)
    name = table(model, "source")
    assert torch.equal(weights[name][2:], own[name][2:])


def test_the_same_vocabularies_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizers = {"source": SOURCE, "target": TARGET}
    parent, model = parent_of(tokenizers, **TRANSFORMER), model_of(2, tokenizers, **TRANSFORMER)[1]
    assert fitted_weights(parent, PATH, model, tokenizers, DATA) is parent.weights
    assert not capsys.readouterr().err


def test_next_to_nothing_in_common_is_refused_with_both_remedies() -> None:
    tokenizers = {"source": SOURCE, "target": words(*(f"é{number}" for number in range(101)))}
    parent = parent_of({"source": SOURCE, "target": TARGET}, **TRANSFORMER)
    model = model_of(2, tokenizers, **TRANSFORMER)[1]
    with pytest.raises(CheckpointError) as raised:
        fitted_weights(parent, PATH, model, tokenizers, DATA)
    message = one_line(raised)
    assert message.startswith("parent.safetensors: has 0 of the 101 target symbols of data, less than 1 %")
    for remedy in ("--target-vocab-from parent.safetensors", "--new-embeddings target"):
        assert remedy in message
    fitted_weights(parent, PATH, model, tokenizers, DATA, anew="target")


def test_a_run_says_how_many_rows_begin_with_what_and_goes_on_exactly(
    trained: Trainer, runs: Path, others: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the 12 words of the target the parent's vocabulary has all; its 8 symbols are the most frequent of them."""
    trainer = Trainer(others["vocabulary"], trained.root)
    settings = QUICK | {"finetune_from_model": runs / "first", "ema_decay": 0.9}
    trainer("whole", **settings, max_update=4)
    said = capsys.readouterr().err
    assert f"starting from the weights of {runs / 'first' / BEST}" in said
    for side, number in (("source", 12), ("target", 8)):
        line = rf"{side}: of {number} symbols {number} begin with their rows of .*{BEST}, 0 with .*, 0 anew"
        assert re.search(line, said)
    trainer("parts", **settings, max_update=2)
    trainer("parts", **settings, max_update=4)
    assert_same_run(trainer.checkpoint("parts"), trainer.checkpoint("whole"))
    assert len(trainer.checkpoint("whole").tokenizers["target"]) == 12


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_begin_with_the_same_rows(
    trained: Trainer, runs: Path, others: Mapping[str, Path], kind: str
) -> None:
    trainer = Trainer(others["vocabulary"], trained.root)
    settings = QUICK | {"finetune_from_model": runs / "first", "ema_decay": 0.9, "max_update": 2}
    trainer("alone", **settings, update_freq=2)
    together(trainer, "two", settings | {"distributed": kind})
    assert_close(trainer.checkpoint("two"), trainer.checkpoint("alone"), 1e-5)


def test_text_that_is_normalized_in_another_way_alone_is_refused(
    trained: Trainer, runs: Path, tmp_path: Path
) -> None:
    data = write_dataset(tmp_path, sizes=(60, 9, 0), srcdict=trained.data / "dict.source.txt", lowercase=True)
    with pytest.raises(CheckpointError, match="text is normalized in another way"):
        Trainer(data, trained.root)("run", **QUICK, finetune_from_model=runs / "first", max_update=1)
