"""Settings of the weights that a training run begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.schema import setting

_START = "First weights"
INITIALIZERS = ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "normal", "uniform")


@dataclass(frozen=True, kw_only=True)
class StartingConfig:
    """What the weights are drawn from, or read from, before the first update."""

    param_init: str | None = setting(
        None,
        "what weight matrices are drawn from, embeddings and output weights left out, with biases of zero; by default "
        "as is usual for the family of models",
        choices=INITIALIZERS,
        panel=_START,
        needs="!finetune_from_model",
        decides=False,
    )
    param_init_scale: float | None = setting(
        None,
        "gain of xavier (by default 1) and kaiming (√2), standard deviation of normal (0.02), largest number of "
        "uniform (0.1)",
        above=0,
        panel=_START,
        needs=("param_init", "!finetune_from_model"),
        decides=False,
    )
    embed_init: str | None = setting(
        None,
        "as --param-init, for embeddings and output weights",
        choices=INITIALIZERS,
        panel=_START,
        needs="!finetune_from_model",
        decides=False,
    )
    embed_init_scale: float | None = setting(
        None,
        "as --param-init-scale",
        above=0,
        panel=_START,
        needs=("embed_init", "!finetune_from_model"),
        decides=False,
    )
    encoder_embed_path: Path | None = setting(
        None,
        "file with vectors to begin source embeddings with, a symbol and its numbers a line, as of GloVe, fastText and "
        "word2vec; symbols that it lacks are drawn",
        panel=_START,
        needs=("!finetune_from_model", "!init_encoder"),
        decides=False,
    )
    decoder_embed_path: Path | None = setting(
        None,
        "as --encoder-embed-path, for target embeddings",
        panel=_START,
        needs=("!finetune_from_model", "!init_decoder"),
        decides=False,
    )
    init_encoder: Path | None = setting(
        None,
        "begin a Transformer's encoder with that of a run or checkpoint, or with a BERT: a folder of transformers, or "
        "what s2s import has made of it (Rothe et al. 2020); fewer layers begin with some of its, at even distances",
        panel=_START,
        needs=("!finetune_from_model", "!restore_file"),
        decides=False,
    )
    init_decoder: Path | None = setting(
        None,
        "begin its decoder likewise, with a language model as GPT-2, a BERT or another's decoder; attention over the "
        "encoder is drawn where that has none",
        panel=_START,
        needs=("!finetune_from_model", "!restore_file"),
        decides=False,
    )
