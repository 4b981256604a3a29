"""Checkpoints of any Transformer with random weights, and vocabularies of words that are hard to write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fairseq_symbols import NUM_SPECIAL
from foreign_models import text_lines

from s2scli.checkpoint import Checkpoint, save_checkpoint
from s2scli.configs.train import TrainConfig
from s2scli.data.facts import ModelColumns
from s2scli.data.shortlist import Shortlist
from s2scli.models.factory import build_model, kept_tensors
from s2scli.schema import as_dict
from s2scli.text.normalization import Normalization
from s2scli.text.subword import SentencePieceTokenizer
from s2scli.text.tokenizer import LearningSettings, Tokenizer
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols, Vocabulary
from s2scli.text.word import WordTokenizer

# Words that are spelled as special symbols, or hold what files of names are divided at, are words all the same.
SOURCE = [*"abcdefghij", "</s>", "<unk>", "k l"]
TARGET = ["</s>", *"zyxwvutsrqponm", "l m", "l\u2585m"]
SMALL = {
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_embed_dim": 12,
    "decoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 20,
    "decoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
}


def write_checkpoint(
    folder: Path,
    arch: str,
    model: dict[str, Any],
    special: SpecialSymbols = FAIRSEQ_SYMBOLS,
    tokenizers: Mapping[str, Tokenizer] | None = None,
    **settings: Any,
) -> Path:
    """A run of one checkpoint whose weights, norms and biases too, are drawn at random.

    tokenizers: in place of those of words, whose special symbols are then theirs.
    """
    given = {f"model.{name}": value for name, value in model.items()}
    config = TrainConfig.resolve({}, {"data": "none", "arch": arch, **given, **settings})
    words = {"source": SOURCE, "target": TARGET}
    if model.get("share_all_embeddings"):
        words["source"] = TARGET
    if not config.model.reads_source:
        del words["source"]
    made = tokenizers or {
        side: WordTokenizer(Vocabulary(own, [0] * len(own), special)).of_pieces("none")
        for side, own in words.items()
    }
    torch.manual_seed(3)
    network = build_model(config.model, ModelColumns.of(made))
    weights = {
        name: torch.randn_like(tensor) * (0.3 if tensor.dim() > 1 else 0.2) + ("norm.weight" in name)
        for name, tensor in kept_tensors(network).items()
    }
    checkpoint = Checkpoint(
        config=as_dict(config),
        tokenizers=made,
        dataset={
            "source_lang": "aa" if "source" in made else "",
            "target_lang": "bb",
            "limits": {"max_source_length": 0, "max_target_length": 0, "on_long": "truncate"},
            "vocabularies": {side: tokenizer.fingerprint for side, tokenizer in made.items()},
        },
        weights=weights,
        shortlist=shortlist(len(made["source"]), len(made["target"])) if "source" in made else None,
    )
    path = folder / "checkpoint_best.safetensors"
    save_checkpoint(path, checkpoint)
    return path


def shortlist(source: int, target: int) -> Shortlist:
    """Of the n-th source token the n-th target token is the first translation, and the second of all is the last."""
    targets = torch.full((source, 3), -1, dtype=torch.int32)
    targets[NUM_SPECIAL:, 0] = torch.arange(NUM_SPECIAL, source).clamp(max=target - 1)
    targets[NUM_SPECIAL:, 1] = target - 1
    return Shortlist(targets, torch.arange(target - 1, -1, -1, dtype=torch.int32), NUM_SPECIAL)


def sentencepiece_tokenizers(*, one: bool) -> dict[str, Tokenizer]:
    """Tokenizers of both sides with pieces learnt from made-up lines; one: the same of both."""
    return {"source": _of_pieces(1), "target": _of_pieces(1 if one else 2)}


def _of_pieces(seed: int) -> Tokenizer:
    lines = [[line] for line in text_lines(seed)]
    settings = LearningSettings(vocab_size=60 + seed)
    return SentencePieceTokenizer.learn(lambda: iter(lines), settings, Normalization())
