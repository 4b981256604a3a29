"""The first weights of a run: drawn as its settings say, halves of other models, and embeddings from a file."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from s2scli.configs.train import TrainConfig
from s2scli.console import counted, notice
from s2scli.errors import DataError, UsageError
from s2scli.features.form import FeatureForm
from s2scli.models.base import Model
from s2scli.nn.initial import initialize, initialize_embeddings
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vectors import read_vectors
from s2scli.training.halves import load_halves


def first_weights(
    config: TrainConfig,
    model: Model,
    tokenizers: Mapping[str, Tokenizer],
    features: FeatureForm | None = None,
) -> None:
    """Give a fresh model the weights that a run begins with; what the settings leave open stays as it was drawn.

    tokenizers: of both sides, or of the target; features: how the frames of sources are made, if they are frames.
    Raises UsageError and DataError for files that do not fit.
    """
    if config.param_init is not None:
        initialize(model, config.param_init, config.param_init_scale)
    if config.embed_init is not None:
        initialize_embeddings(model, config.embed_init, config.embed_init_scale)
    load_halves(config, model, tokenizers, features)
    paths = {
        "source": (config.encoder_embed_path, config.init_encoder),
        "target": (config.decoder_embed_path, config.init_decoder),
    }
    # A half brings its embeddings along.
    given = {side: path for side, (path, half) in paths.items() if path is not None and half is None}
    tables = model.embeddings
    if "source" in given and "source" not in tables:
        why = "a language model reads no source" if features is None else "the source is frames"
        raise UsageError(f"--encoder-embed-path {given['source']}: {why}; give --decoder-embed-path")
    if len(set(given.values())) == 2 and tables["source"] is tables["target"]:
        raise UsageError(
            "--encoder-embed-path and --decoder-embed-path: both sides have one table here; give one of them, or "
            "--no-share-all-embeddings"
        )
    for side, path in given.items():
        part = "encoder" if side == "source" else "decoder"
        symbols = tokenizers[side].vocabulary.ordinary_symbols
        numbers = {symbol: tokenizers[side].vocabulary.lookup(symbol) for symbol in symbols}
        table = tables[side].weight
        vectors = read_vectors(path, numbers, table.size(1), f"--{part}-embed-dim")
        if not vectors:
            raise DataError(
                f"{path}: has none of the {counted(len(symbols), f'{side} symbol')}, as {', '.join(symbols[:3])}; the "
                "vectors must be of the units that the text is split into"
            )
        with torch.no_grad():
            table[list(vectors)] = torch.tensor(list(vectors.values()), dtype=table.dtype)
        notice(f"{path}: vectors of {len(vectors):,} of {counted(len(symbols), f'{side} symbol')}")
