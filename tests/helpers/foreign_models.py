"""Folders of transformers with tiny random models, tokenizers learnt on the spot, and what such a model says of ids."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.importing import ImportConfig
from s2scli.data.batch import Batch, pad_outputs, pad_sequences
from s2scli.importing import import_model
from s2scli.models.base import Model
from s2scli.schema import build
from s2scli.text.tokenizer import Tokenizer

LANGUAGES = ("en_XX", "de_DE", "ro_RO")


def text_lines(seed: int, number: int = 200) -> list[str]:
    """Made-up lines over some letters, the same for a seed."""
    draw = random.Random(seed)
    words = ["".join(draw.choice("abcdefgh") for _ in range(draw.randint(2, 6))) for _ in range(80)]
    return [" ".join(draw.choice(words) for _ in range(8)) for _ in range(number)]


def sentencepiece_model(seed: int = 1, size: int = 60, **settings: Any) -> bytes:
    """A model of SentencePiece that has learnt from such lines."""
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text_lines(seed)),
        model_writer=writer,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    return writer.getvalue()


def write_model(folder: Path, model: Any, files: Mapping[str, Any], *, shard: str | None = None) -> None:
    """Save a model of transformers with weights far from zero, and files beside it: bytes, or JSON values."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
    model.eval().save_pretrained(folder, **({} if shard is None else {"max_shard_size": shard}))
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(data)


def imported(source: Path, save_dir: Path, **settings: Any) -> tuple[Model, Mapping[str, Tokenizer]]:
    """The model and the tokenizers of the checkpoint that `s2s import` makes of a source."""
    values = {"source": source, "save_dir": save_dir, **settings}
    path = import_model(build(ImportConfig, values)).checkpoint
    checkpoint = load_checkpoint(path)
    return restore_model(checkpoint, path), checkpoint.tokenizers


def log_probabilities(model: Model, source: list[int], target: list[int]) -> Tensor:
    """What our model says of each token of a target and of its end, [T + 1, V]; ids without end symbols."""
    sources = pad_sequences([source], symbols=model.source_symbols)
    batch = Batch(sources, pad_outputs([target], model.target_size, model.symbols))
    with torch.no_grad():
        scores: Tensor = model.output(model.forward(batch))[0].log_softmax(-1)
    return scores


def their_log_probabilities(model: Any, source: list[int], target: list[int]) -> Tensor:
    """What a model of transformers says after each beginning of a target, [T, V]; ids with all that it reads."""
    with torch.no_grad():
        logits: Tensor = model(
            input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target])
        ).logits
    return logits[0].log_softmax(-1)


def same_rows(ours: Tensor, theirs: Tensor) -> list[int]:
    """For each row of our embeddings the number of theirs that is equal; random rows are, or differ."""
    equal = (ours[:, None] == theirs).all(-1)
    assert (equal.sum(1) >= 1).all()
    return equal.int().argmax(1).tolist()
