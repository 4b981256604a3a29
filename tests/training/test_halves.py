"""--init-encoder and --init-decoder: what a run begins with, what is drawn anew, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from half_folders import bert_shapes, random_tensors, write_bert, write_gpt2
from torch import Tensor
from toys import BAHDANAU, LANGUAGE_MODEL, TRANSFORMER, Trainer, assert_same_run, preprocess_toys

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.checkpoint_file import BEST
from s2scli.cli.app import run as run_command
from s2scli.errors import CheckpointError, S2SError, UsageError
from s2scli.training.building import make_run
from s2scli.training.distributed import Processes
from s2scli.training.halves import spaced_layers
from s2scli.training.signals import StopSignals

APART: dict[str, Any] = TRANSFORMER | {"model.share_all_embeddings": False}


def first_weights(trained: Trainer, **settings: Any) -> dict[str, Tensor]:
    """The weights of a run before its first update."""
    run = make_run(trained.config("new", **settings), Processes(torch.device("cpu")), StopSignals())
    run.data.loader.close()
    run.observers.close()
    return {name: item.detach() for name, item in run.learner.model.named_parameters()}


@pytest.fixture(scope="module")
def sources(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs to begin with: an encoder-decoder with embeddings of its own on each side, and a language model."""
    root = tmp_path_factory.mktemp("sources")
    trainer = Trainer(toy_data, root)
    trainer("both", **APART, max_update=1)
    trainer("lm", **LANGUAGE_MODEL, max_update=1)
    return root


# The settings of a decoder that computes what the language model's does.
LIKE_LM = {"model.decoder_normalize_before": True}


def test_a_run_begins_with_both_halves_of_others(
    trained: Trainer, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = APART | LIKE_LM
    found = first_weights(trained, **settings, init_encoder=sources / "both", init_decoder=sources / "lm")
    said = capsys.readouterr().err
    plain = first_weights(trained, **settings)
    both, lm = (load_checkpoint(sources / name / BEST).weights for name in ("both", "lm"))
    drawn = 0
    for name, tensor in found.items():
        if name.startswith("encoder_"):
            assert torch.equal(tensor, both[name]), name
        elif "cross_attention" in name:
            assert torch.equal(tensor, plain[name]), name
            drawn += 1
        else:
            assert torch.equal(tensor, lm[name]), name
    assert drawn == 8
    assert f"encoder: begins with the encoder of {sources / 'both'}" in said
    assert "nothing of it is drawn anew" in said
    assert f"decoder: begins with the decoder of {sources / 'lm'}" in said
    assert said.count("; drawn anew: decoder_layers.*.cross_attention*\n") == 1


def test_attention_over_the_encoder_is_taken_where_it_is_there(trained: Trainer, sources: Path) -> None:
    found = first_weights(trained, **APART, init_decoder=sources / "both")
    plain, both = first_weights(trained, **APART), load_checkpoint(sources / "both" / BEST).weights
    for name, tensor in found.items():
        assert torch.equal(tensor, (plain if name.startswith("encoder_") else both)[name]), name


def test_attention_over_states_of_another_width_is_drawn_anew(trained: Trainer, sources: Path) -> None:
    settings = APART | {"model.encoder_embed_dim": 24}
    found = first_weights(trained, **settings, init_decoder=sources / "both")
    plain, both = first_weights(trained, **settings), load_checkpoint(sources / "both" / BEST).weights
    for name, tensor in found.items():
        is_drawn = name.startswith("encoder_") or "cross_attention" in name
        assert torch.equal(tensor, (plain if is_drawn else both)[name]), name


def test_an_encoder_alone_begins_both_sides_and_generates_nothing(
    trained: Trainer, sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = load_checkpoint(sources / "both" / BEST)
    for name in [name for name in checkpoint.weights if not name.startswith("encoder_")]:
        checkpoint.weights.pop(name)  # type: ignore[attr-defined]
    alone = tmp_path / "alone" / BEST
    alone.parent.mkdir()
    save_checkpoint(alone, checkpoint)
    found = first_weights(trained, **TRANSFORMER, init_encoder=alone, init_decoder=alone)
    for name, tensor in checkpoint.weights.items():
        assert torch.equal(found[name], tensor), name
        of_decoder = name.replace("encoder_", "decoder_", 1)
        if "embedder" not in name:
            assert torch.equal(found[of_decoder], tensor), of_decoder
    capsys.readouterr()
    assert run_command(["generate", "--path", str(alone), "--input", "/dev/null"]) == 1
    assert "holds an encoder alone; s2s train --init-encoder" in capsys.readouterr().err


def test_a_run_that_goes_on_has_the_same_bits_and_needs_no_halves(
    trained: Trainer, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = trained.root / "given"
    shutil.copytree(sources / "both", given)
    settings = APART | {"init_encoder": given, "model.dropout": 0.1}
    trained("whole", **settings, max_update=3)
    trained("parts", **settings, max_update=2)
    shutil.rmtree(given)
    capsys.readouterr()
    trained("parts", **settings | {"init_decoder": sources / "lm"}, max_update=3)
    assert f"--init-decoder {sources / 'lm'}: not used" in capsys.readouterr().err
    assert_same_run(trained.checkpoint("whole"), trained.checkpoint("parts"))


def test_the_flags_that_a_message_lists_are_all_that_is_needed(trained: Trainer, sources: Path) -> None:
    halves = {"init_encoder": sources / "both", "init_decoder": sources / "lm"}
    with pytest.raises(UsageError) as raised:
        first_weights(trained, **APART | {"arch": "transformer", "model.encoder_layers": 3}, **halves)
    message = str(raised.value)
    assert message.count("\n") == 0
    flags = message.partition("; give ")[2].split()
    wanted = "--encoder-layers 1 --encoder-attention-heads 4 --decoder-attention-heads 4"
    assert flags == [*wanted.split(), "--decoder-normalize-before"]
    values: dict[str, Any] = {}
    for flag in flags:
        if flag.startswith("--"):
            name = f"model.{flag[2:].replace('-', '_')}"
            values[name] = True
        else:
            values[name] = flag
    assert first_weights(
        trained, **APART | {"arch": "transformer", "model.encoder_layers": 3} | values, **halves
    )


def test_what_one_model_cannot_have_is_refused(trained: Trainer, sources: Path) -> None:
    trained("rotary", **APART, **{"model.positions": "rotary"}, max_update=1)
    with pytest.raises(UsageError, match=r"model\.positions = .*a model has one value for both"):
        first_weights(trained, **APART, init_encoder=sources / "both", init_decoder=trained.root / "rotary")
    with pytest.raises(UsageError, match=r"their embeddings differ.*--no-share-all-embeddings"):
        first_weights(
            trained,
            **TRANSFORMER | LIKE_LM | {"model.share_all_embeddings": True},
            init_encoder=sources / "both",
            init_decoder=sources / "lm",
        )


def test_fewer_layers_begin_with_some_at_even_distances(
    trained: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [spaced_layers(*sizes) for sizes in ((4, 3), (12, 6), (6, 2), (5, 1), (3, 3))] == [
        [0, 2, 3],
        [0, 2, 4, 7, 9, 11],
        [0, 5],
        [0],
        [0, 1, 2],
    ]
    trained("deep", **APART | {"model.encoder_layers": 3, "model.decoder_layers": 2}, max_update=1)
    deep = trained.root / "deep"
    lower = APART | {"model.encoder_layers": 2, "model.decoder_layers": 1}
    capsys.readouterr()
    found = first_weights(trained, **lower, init_encoder=deep, init_decoder=deep)
    said, weights = capsys.readouterr().err, load_checkpoint(deep / BEST).weights
    for name, tensor in found.items():
        assert torch.equal(tensor, weights[name.replace("encoder_layers.1.", "encoder_layers.2.")]), name
    assert f"encoder: begins with the encoder of {deep}, layers 0, 2 of 3, " in said
    assert f"decoder: begins with the decoder of {deep}, layers 0 of 2, " in said
    # Where more must be other, the layers are among it; more layers than there are cannot begin.
    for other, flags in (
        (
            lower | {"model.encoder_normalize_before": True},
            "--encoder-layers 3 --no-encoder-normalize-before",
        ),
        (APART | {"model.encoder_layers": 4}, "--encoder-layers 3"),
    ):
        with pytest.raises(UsageError, match=f"give {flags}$"):
            first_weights(trained, **other, init_encoder=deep)


@pytest.mark.parametrize(
    ("settings", "flag", "source", "message"),
    [
        (
            TRANSFORMER,
            "init_encoder",
            "lm",
            "is a language model and has no encoder; --init-decoder takes it",
        ),
        (TRANSFORMER, "init_encoder", "nothing", "nothing: no such checkpoint"),
        (BAHDANAU, "init_decoder", "both", "--arch rnn_bahdanau has none; leave it out"),
        (LANGUAGE_MODEL, "init_encoder", "both", "--arch transformer_lm_tiny has none; leave it out"),
    ],
)
def test_what_has_no_such_half_is_refused(
    trained: Trainer, sources: Path, settings: dict[str, Any], flag: str, source: str, message: str
) -> None:
    with pytest.raises(S2SError, match=message):
        first_weights(trained, **settings, **{flag: sources / source})


def test_another_family_is_refused(trained: Trainer) -> None:
    trained("recurrent", **BAHDANAU, max_update=1)
    with pytest.raises(CheckpointError, match="is of the family recurrent; wanted: a Transformer"):
        first_weights(trained, **TRANSFORMER, init_encoder=trained.root / "recurrent")


def test_another_vocabulary_is_refused(sources: Path, toy_data: Path, tmp_path: Path) -> None:
    letters = preprocess_toys(
        toy_data.parent, tmp_path / "letters", source_lang="aa", target_lang="bb", tokenizer="character"
    )
    with pytest.raises(CheckpointError, match=r"trained with source vocabulary .*--source-vocab-from .*both"):
        first_weights(Trainer(letters, tmp_path), **APART, init_encoder=sources / "both")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_decoder": True}, "is_decoder = true is not supported; supported: false"),
        ({"hidden_act": "tanh"}, "hidden_act = 'tanh' is not supported; supported: gelu"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ({"model_type": "berd"}, "is of model type 'berd', which is not supported; did you mean bert"),
    ],
)
def test_a_bert_that_cannot_be_ours_is_refused(
    trained: Trainer, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = write_bert(tmp_path / "bert", **change)
    with pytest.raises(CheckpointError, match=message):
        first_weights(trained, **TRANSFORMER, init_encoder=folder)


def test_a_folder_without_embeddings_is_refused(trained: Trainer, tmp_path: Path) -> None:
    weights = random_tensors(bert_shapes())
    del weights["embeddings.word_embeddings.weight"]
    with pytest.raises(CheckpointError, match=r"has no embeddings\.word_embeddings\.weight"):
        first_weights(trained, **TRANSFORMER, init_encoder=write_bert(tmp_path / "bert", weights))
    gpt2 = write_gpt2(tmp_path / "gpt2", add_cross_attention=True)
    with pytest.raises(CheckpointError, match="add_cross_attention = true is not supported"):
        first_weights(trained, **TRANSFORMER, init_decoder=gpt2)
