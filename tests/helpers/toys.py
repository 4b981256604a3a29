"""Small models, batches, datasets and runs for the tests."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from fairseq_symbols import NUM_SPECIAL, pad_sequences
from torch import Tensor

from s2scli.checkpoint import Checkpoint, load_checkpoint
from s2scli.configs.convolutional import ConvolutionalConfig
from s2scli.configs.model import ModelConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.recurrent import RecurrentConfig
from s2scli.configs.train import TrainConfig
from s2scli.configs.transformer import TransformerConfig, TransformerLMConfig
from s2scli.configs.transformer_options import TransformerOptions
from s2scli.data.batch import Batch, Tokens
from s2scli.data.facts import FeatureFacts, ModelColumns, TextFacts
from s2scli.models.base import Model
from s2scli.models.factory import build_model
from s2scli.preprocess import preprocess
from s2scli.schema import build, limits_of
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols
from s2scli.train import TrainResult, train

WORDS = ("ba", "be", "bi", "da", "de", "di", "ga", "ge", "gi", "ka", "ke", "ki")


def small_transformer(**settings: Any) -> TransformerConfig:
    """Two layers of width 16 on each side."""
    values: dict[str, Any] = {"dropout": 0.0}
    for side in ("encoder", "decoder"):
        values |= {
            f"{side}_layers": 2,
            f"{side}_embed_dim": 16,
            f"{side}_ffn_embed_dim": 24,
            f"{side}_attention_heads": 4,
        }
    return build(TransformerConfig, values | settings)


def random_options(seed: int, *sides: str) -> dict[str, Any]:
    """Settings of a small Transformer, drawn from all those in which published ones differ."""
    draw = random.Random(seed)
    found: dict[str, Any] = {
        field.name: draw.choice([*limits_of(field).choices])
        for field in fields(TransformerOptions)
        if field.name != "name" and limits_of(field).choices
    }
    found |= {
        name: draw.random() < 0.5
        for name in (
            "norm_bias",
            "layernorm_embedding",
            "linear_bias",
            "qk_norm",
            "scale_embedding",
            "output_bias",
        )
    }
    found |= {
        "norm_eps": draw.choice([1e-6, 0.05]),
        "position_offset": draw.choice([0, 2]),
        "relative_buckets": draw.choice([6, 8]),
        "relative_max_distance": draw.choice([5, 12]),
        "rotary_base": draw.choice([20.0, 10000.0]),
        "attention_scale": draw.choice([None, 1.0]),
        "output_scale": draw.choice([None, 0.4]),
        "max_target_positions": 21,
    }
    for side in sides:
        found |= {
            f"{side}_head_dim": draw.choice([None, 6]),
            f"{side}_kv_heads": draw.choice([None, 1, 2]),
            f"{side}_normalize_before": draw.random() < 0.5,
        }
    return found


def small_transformer_lm(**settings: Any) -> TransformerLMConfig:
    """Two layers of width 16."""
    values: dict[str, Any] = {
        "decoder_layers": 2,
        "decoder_embed_dim": 16,
        "decoder_ffn_embed_dim": 24,
        "decoder_attention_heads": 4,
        "dropout": 0.0,
    }
    return build(TransformerLMConfig, values | settings)


def small_convolutional(**settings: Any) -> ConvolutionalConfig:
    """Two layers on each side, every width a different one, one kernel even."""
    values: dict[str, Any] = {
        "encoder_layers": "[(10, 3), (14, 2)]",
        "decoder_layers": "[(9, 3), (15, 2)]",
        "encoder_embed_dim": 12,
        "decoder_embed_dim": 12,
        "decoder_out_embed_dim": 8,
        "dropout": 0.0,
    }
    return build(ConvolutionalConfig, values | settings)


def small_recurrent(**settings: Any) -> RecurrentConfig:
    """One layer on each side, every width a different one as far as the attention score allows it."""
    values: dict[str, Any] = {
        "encoder_embed_dim": 10,
        "decoder_embed_dim": 12,
        "encoder_hidden_size": 7,
        "decoder_hidden_size": 14,
        "attention_dim": 9,
        "dropout": 0.0,
    }
    return build(RecurrentConfig, values | settings)


def text_columns(
    source_size: int, target_size: int, symbols: SpecialSymbols = FAIRSEQ_SYMBOLS
) -> ModelColumns:
    """The facts of two columns of text of vocabularies of these sizes; without a source its size is 0."""
    source = TextFacts(source_size, symbols) if source_size else None
    return ModelColumns(source, TextFacts(target_size, symbols))


def frame_columns(features: int, target_size: int) -> ModelColumns:
    """The facts of frames of so many numbers, and of a column of text of a vocabulary of this size."""
    return ModelColumns(FeatureFacts(features), TextFacts(target_size, FAIRSEQ_SYMBOLS))


def random_model(
    config: ModelConfig, source_size: int, target_size: int, *, seed: int = 0, spread: float = 0.25
) -> Model:
    """A model in evaluation mode whose every weight, biases and norms included, is moved away from its first value."""
    return random_model_of(config, text_columns(source_size, target_size), seed=seed, spread=spread)


def random_model_of(
    config: ModelConfig,
    columns: ModelColumns,
    *,
    heads: Collection[str] = (),
    seed: int = 0,
    spread: float = 0.25,
) -> Model:
    """Such a model of any columns, with heads of these names."""
    torch.manual_seed(seed)
    model = build_model(config, columns, heads)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += spread * torch.randn(parameter.shape)
    return model.eval()


def random_ids(lengths: Sequence[int], vocabulary: int, seed: int = 0) -> list[list[int]]:
    """Sequences of ordinary ids; lengths without the end symbol."""
    draw = random.Random(seed)
    return [[draw.randrange(NUM_SPECIAL, vocabulary) for _ in range(length)] for length in lengths]


def random_tokens(lengths: Sequence[int], vocabulary: int, seed: int = 0) -> Tokens:
    """A padded batch of such sequences."""
    return pad_sequences(random_ids(lengths, vocabulary, seed))


def copyable(sources: Sequence[Sequence[int]], target_size: int) -> Tokens:
    """Sources whose even ids are words of the target vocabulary too, while odd ones are the sources' own."""
    extended = []
    for source in sources:
        own: dict[int, int] = {}
        extended.append(
            [
                own.setdefault(token, target_size + len(own)) if token % 2 else min(token, target_size - 1)
                for token in source
            ]
        )
    return pad_sequences(sources, extended)


def log_probabilities(model: Model, source: Sequence[int], targets: Sequence[Sequence[int]]) -> list[Tensor]:
    """Teacher-forced log-probabilities [T, V] of every position of some targets of one source, without a search.

    source and targets come without end symbols; T counts it. All targets must have one length.
    """
    batch = Batch(pad_sequences([source] * len(targets)), pad_sequences(targets))
    with torch.no_grad():
        return list(model.output(model(batch)).double().log_softmax(-1))


def reversed_pairs(number: int, longest: int, seed: int) -> tuple[list[str], list[str]]:
    """Sentences of made-up words, and each of them backwards."""
    draw = random.Random(seed)
    sources = [draw.choices(WORDS, k=draw.randint(2, longest)) for _ in range(number)]
    return [" ".join(words) for words in sources], [" ".join(reversed(words)) for words in sources]


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """A text file with these lines."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")


def write_dataset(
    root: Path,
    *,
    sizes: tuple[int, int, int] = (144, 24, 16),
    longest: int = 8,
    copy: bool = False,
    seed: int = 0,
    **settings: Any,
) -> Path:
    """Write text in two made-up languages, aa and bb, preprocess it and return the dataset folder."""
    splits = ("train", "valid", "test")
    for number, (split, size) in enumerate(zip(splits, sizes, strict=True)):
        source, target = reversed_pairs(size, longest, seed=seed + 1000 * number)
        write_lines(root / f"{split}.aa", source)
        write_lines(root / f"{split}.bb", source if copy else target)
    values: dict[str, Any] = {
        "source_lang": "aa",
        "target_lang": "bb",
        "tokenizer": "word",
        "joined_dictionary": True,
    }
    values |= {f"{split}pref": str(root / split) for split, size in zip(splits, sizes, strict=True) if size}
    return preprocess(build(PreprocessConfig, values | {"destdir": root / "data"} | settings)).destdir


def preprocess_toys(texts: Path, destdir: Path, **settings: Any) -> Path:
    """Another dataset of the text that `write_dataset` has left in a folder."""
    values: dict[str, Any] = {f"{split}pref": str(texts / split) for split in ("train", "valid", "test")}
    return preprocess(build(PreprocessConfig, values | {"destdir": destdir} | settings)).destdir


# A few settings of each family that make a run of a second; an epoch of the toy data is nine batches.
_COMMON: dict[str, Any] = {
    "max_tokens": 400,
    "batch_size": 16,
    "log_interval": 1,
    "device": "cpu",
    "precision": "fp32",
    "lr_scheduler.warmup_updates": 20,
}
TRANSFORMER: dict[str, Any] = _COMMON | {
    "arch": "transformer_tiny",
    "model.encoder_layers": 1,
    "model.decoder_layers": 1,
    "model.encoder_embed_dim": 16,
    "model.decoder_embed_dim": 16,
    "model.encoder_ffn_embed_dim": 16,
    "model.decoder_ffn_embed_dim": 16,
    "model.attention_dropout": 0.1,
    "model.activation_dropout": 0.1,
}
# What is trained where nothing is said, but smaller.
MODERN: dict[str, Any] = TRANSFORMER | {"arch": "transformer_modern", "optimizer.name": "muon"}
BAHDANAU: dict[str, Any] = _COMMON | {
    "arch": "rnn_bahdanau",
    "model.encoder_embed_dim": 12,
    "model.decoder_embed_dim": 12,
    "model.encoder_hidden_size": 8,
    "model.decoder_hidden_size": 12,
    "model.attention_dim": 8,
}
CONVOLUTIONAL: dict[str, Any] = _COMMON | {
    "arch": "fconv_tiny",
    "model.encoder_layers": "[(12, 3)] * 2",
    "model.decoder_layers": "[(12, 3), (16, 3)]",
    "model.encoder_embed_dim": 12,
    "model.decoder_embed_dim": 12,
    "model.decoder_out_embed_dim": 12,
}
LANGUAGE_MODEL: dict[str, Any] = _COMMON | {
    "arch": "transformer_lm_tiny",
    "model.decoder_layers": 1,
    "model.decoder_embed_dim": 16,
    "model.decoder_ffn_embed_dim": 16,
    "model.attention_dropout": 0.1,
}
LUONG: dict[str, Any] = _COMMON | {
    "arch": "rnn_luong",
    "model.encoder_embed_dim": 12,
    "model.decoder_embed_dim": 12,
    "model.encoder_hidden_size": 12,
    "model.decoder_hidden_size": 12,
}
# On frames, with what is drawn for them and a head beside the decoder.
ON_FRAMES: dict[str, Any] = {
    "max_tokens": 300,
    "objective.ctc_weight": 0.3,
    "model.specaugment": "4/1/20/0.3/1",
}
SPEECH: dict[str, Any] = TRANSFORMER | ON_FRAMES | {"arch": "s2t_transformer_xs", "model.conv_channels": 16}
CONFORMER: dict[str, Any] = SPEECH | {"arch": "s2t_conformer", "model.depthwise_conv_kernel_size": 5}


@dataclass(frozen=True)
class Trainer:
    """Trains on a dataset, each run in a folder of its own under root."""

    data: Path
    root: Path

    def config(self, name: str, **settings: Any) -> TrainConfig:
        """The settings of a run; keys as on the command line, "model.dropout"."""
        return TrainConfig.resolve({}, {"data": self.data, "save_dir": self.root / name, **settings})

    def __call__(self, name: str, **settings: Any) -> TrainResult:
        return train(self.config(name, **settings))

    def checkpoint(self, name: str, file: str = "checkpoint_last") -> Checkpoint:
        """A checkpoint of a run with all that is in it."""
        return load_checkpoint(self.root / name / f"{file}.safetensors", resume=True, may_be_adapter=True)

    def events(self, name: str, kind: str) -> list[dict[str, Any]]:
        """The events of one kind in a run's log.jsonl."""
        lines = (self.root / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def assert_same_run(one: Checkpoint, other: Checkpoint, *, ignore: Sequence[str] = ()) -> None:
    """Fail unless two checkpoints stand at the same place with the same bits; ignore: parts of the place."""
    places = [
        {key: value for key, value in checkpoint.run.items() if key not in ("seconds", *ignore)}
        for checkpoint in (one, other)
    ]
    assert places[0] == places[1]
    for group in ("weights", "optimizer", "ema", "objective", "ewc"):
        tensors, others = getattr(one, group), getattr(other, group)
        assert tensors.keys() == others.keys(), group
        for name, tensor in tensors.items():
            assert tensor.dtype == others[name].dtype, f"{group} {name}"
            assert torch.equal(tensor, others[name]), f"{group} {name}"
