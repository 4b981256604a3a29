"""A Transformer trained with fairseq, as one of ours: for tests of equality and for measurements side by side."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from fairseq_symbols import NUM_SPECIAL
from safetensors.torch import load_file
from torch import Tensor

from s2scli.checkpoint import Checkpoint, save_checkpoint
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.data.dataset import Dataset
from s2scli.data.shortlist import Shortlist
from s2scli.models.base import Model
from s2scli.models.factory import build_model, unique_parameters
from s2scli.nn.positions import sinusoids
from s2scli.preprocess import preprocess
from s2scli.schema import as_dict, build
from s2scli.text.vocabulary import read_dict_txt
from s2scli.text.word import WordTokenizer

POSITIONS = 256


def convert_weights(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """fairseq's names → ours; its sinusoids count from 2 (padding symbol + 1), so they go in as learned positions."""
    table = sinusoids(POSITIONS + 2, weights["embed_tokens.weight"].size(1))[2:]
    ours = {"encoder_embedder.table.weight": weights["embed_tokens.weight"]}
    for side in ("encoder", "decoder"):
        ours[f"{side}_embedder.positions.weight"] = table
        for number in range(layers):
            of, to = f"{side}.layers.{number}", f"{side}_layers.{number}"
            for kind in ("weight", "bias"):
                attention = f"{of}.self_attn"
                ours |= {
                    f"{to}.self_attention.qkv.{kind}": torch.cat(
                        [weights[f"{attention}.{name}_proj.{kind}"] for name in "qkv"]
                    ),
                    f"{to}.self_attention.out.{kind}": weights[f"{attention}.out_proj.{kind}"],
                    f"{to}.self_attention_residual.norm.{kind}": weights[f"{attention}_layer_norm.{kind}"],
                    f"{to}.feed_forward.inner.{kind}": weights[f"{of}.fc1.{kind}"],
                    f"{to}.feed_forward.outer.{kind}": weights[f"{of}.fc2.{kind}"],
                    f"{to}.feed_forward_residual.norm.{kind}": weights[f"{of}.final_layer_norm.{kind}"],
                }
                if side == "decoder":
                    cross = f"{of}.encoder_attn"
                    ours |= {
                        f"{to}.cross_attention.query.{kind}": weights[f"{cross}.q_proj.{kind}"],
                        f"{to}.cross_attention.key_value.{kind}": torch.cat(
                            [weights[f"{cross}.{name}_proj.{kind}"] for name in "kv"]
                        ),
                        f"{to}.cross_attention.out.{kind}": weights[f"{cross}.out_proj.{kind}"],
                        f"{to}.cross_attention_residual.norm.{kind}": weights[f"{cross}_layer_norm.{kind}"],
                    }
    return ours


def load_fairseq_model(folder: Path) -> tuple[Model, WordTokenizer, TrainConfig]:
    """The model of `folder` (model.safetensors, dict.txt) with a tokenizer for its ready-made pieces."""
    tokenizer = WordTokenizer(read_dict_txt(folder / "dict.txt"))
    config = TrainConfig.resolve({}, {"data": "none", "arch": "transformer_tiny"})
    assert isinstance(config.model, TransformerConfig)
    settings = replace(
        config.model,
        share_all_embeddings=True,
        positions="learned",
        max_source_positions=POSITIONS,
        max_target_positions=POSITIONS,
    )
    config = replace(config, model=settings)
    model = build_model(settings, len(tokenizer), len(tokenizer))
    weights = convert_weights(load_file(folder / "model.safetensors"), settings.encoder_layers)
    parameters = unique_parameters(model)
    assert parameters.keys() == weights.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return model.eval(), tokenizer, config


def convert_model(folder: Path, output: Path, pairs: Path | None = None) -> None:
    """Write the model of `folder` as one of our checkpoints, which reads and writes pieces.

    pairs: pairs.en and pairs.de are pieces from which a table for shortlists is learnt.
    """
    model, tokenizer, config = load_fairseq_model(folder)
    _save(output, model, tokenizer, config, pairs)


def random_model_of_pieces(folder: Path, output: Path, arch: str) -> None:
    """Write a model with random weights, over the vocabulary of another."""
    tokenizer = WordTokenizer(read_dict_txt(folder / "dict.txt"))
    config = TrainConfig.resolve({}, {"data": "none", "arch": arch})
    torch.manual_seed(1)
    _save(output, build_model(config.model, len(tokenizer), len(tokenizer)), tokenizer, config, None)


def _save(
    output: Path, model: Model, tokenizer: WordTokenizer, config: TrainConfig, pairs: Path | None
) -> None:
    save_checkpoint(
        output,
        Checkpoint(
            config=as_dict(config),
            tokenizers={"source": tokenizer, "target": tokenizer},
            dataset={
                "source_lang": "en",
                "target_lang": "de",
                "limits": {"max_source_length": 0, "on_long": "truncate"},
            },
            weights=unique_parameters(model),
            shortlist=None if pairs is None else _shortlist(pairs, tokenizer),
        ),
    )


def _shortlist(pairs: Path, tokenizer: WordTokenizer) -> Shortlist | None:
    with tempfile.TemporaryDirectory() as name:
        dictionary, data = Path(name) / "dict.txt", Path(name) / "data"
        symbols = tokenizer.vocabulary.symbols[NUM_SPECIAL:]
        dictionary.write_text("".join(f"{symbol} 1\n" for symbol in symbols), encoding="utf-8")
        values: dict[str, Any] = {"source_lang": "en", "target_lang": "de", "trainpref": (str(pairs),)}
        values |= {"tokenizer": "word", "joined_dictionary": True, "srcdict": dictionary, "destdir": data}
        preprocess(build(PreprocessConfig, values | {"shortlist": 100}))
        return Shortlist.of(Dataset.open(data).shortlist(), NUM_SPECIAL)
