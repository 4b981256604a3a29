"""Folders of transformers with a tiny BERT or GPT-2, its weights random and its tokenizer in the older files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

LAYERS, WIDTH, FFN, HEADS, POSITIONS, TYPES = 2, 24, 36, 4, 64, 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Pieces that stand within words come after those that begin them.
WORD_PIECES = (*SPECIAL, *".,", *LETTERS, "the", "man", *(f"##{letter}" for letter in LETTERS), "##er")
BERT: dict[str, Any] = {
    "model_type": "bert",
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "intermediate_size": FFN,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": TYPES,
    "vocab_size": len(WORD_PIECES),
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


def byte_symbols() -> list[str]:
    """The characters that stand for the 256 bytes in byte-level BPE, in an order of their own."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(number) for number in (*visible, *range(0x100, 0x100 + 256 - len(visible)))]


MERGES = ("Ġ t", "h e", "Ġt he", "e r")
BYTE_LEVEL = (*byte_symbols(), *(pair.replace(" ", "") for pair in MERGES), "<|endoftext|>")
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_layer": LAYERS,
    "n_embd": WIDTH,
    "n_inner": FFN,
    "n_head": HEADS,
    "n_positions": POSITIONS,
    "vocab_size": len(BYTE_LEVEL),
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "bos_token_id": len(BYTE_LEVEL) - 1,
    "eos_token_id": len(BYTE_LEVEL) - 1,
}


def bert_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names of a BERT's tensors, as BertModel has them, with their shapes."""
    for name, rows in (("word", len(WORD_PIECES)), ("position", POSITIONS), ("token_type", TYPES)):
        yield f"embeddings.{name}_embeddings.weight", (rows, WIDTH)
    yield from _pair("embeddings.LayerNorm", WIDTH)
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            yield from _pair(f"{layer}.attention.self.{name}", WIDTH, WIDTH)
        yield from _pair(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        yield from _pair(f"{layer}.attention.output.LayerNorm", WIDTH)
        yield from _pair(f"{layer}.intermediate.dense", FFN, WIDTH)
        yield from _pair(f"{layer}.output.dense", WIDTH, FFN)
        yield from _pair(f"{layer}.output.LayerNorm", WIDTH)


def gpt2_shapes(positions: int = POSITIONS) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names of a GPT-2's tensors, as GPT2Model has them, with their shapes; matrices have a row for each input."""
    yield "wte.weight", (len(BYTE_LEVEL), WIDTH)
    yield "wpe.weight", (positions, WIDTH)
    for number in range(LAYERS):
        layer = f"h.{number}"
        for name, inputs, outputs in (
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, FFN),
            ("mlp.c_proj", FFN, WIDTH),
        ):
            yield f"{layer}.{name}.weight", (inputs, outputs)
            yield f"{layer}.{name}.bias", (outputs,)
        for name in ("ln_1", "ln_2"):
            yield from _pair(f"{layer}.{name}", WIDTH)
    yield from _pair("ln_f", WIDTH)


def _pair(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def random_tensors(shapes: Iterator[tuple[str, tuple[int, ...]]], seed: int = 5) -> dict[str, Tensor]:
    """Tensors of these shapes, vectors around one."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: 0.3 * torch.randn(shape, generator=draw) + (len(shape) == 1) * 0.5 for name, shape in shapes
    }


def write_bert(folder: Path, weights: dict[str, Tensor] | None = None, **settings: Any) -> Path:
    """Write a folder as of a BERT, with its vocabulary in vocab.txt."""
    _write(folder, random_tensors(bert_shapes()) if weights is None else weights, BERT | settings)
    write_word_pieces(folder)
    return folder


def write_gpt2(folder: Path, weights: dict[str, Tensor] | None = None, **settings: Any) -> Path:
    """Write a folder as of a GPT-2, with its vocabulary in vocab.json and merges.txt."""
    settings = GPT2 | settings
    weights = random_tensors(gpt2_shapes(settings["n_positions"])) if weights is None else weights
    _write(folder, weights, settings)
    write_byte_level(folder)
    return folder


def write_word_pieces(folder: Path) -> None:
    """Write the vocabulary of WordPiece."""
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in WORD_PIECES), encoding="utf-8")


def write_byte_level(folder: Path) -> None:
    """Write the vocabulary and the merges of byte-level BPE."""
    ids = {symbol: number for number, symbol in enumerate(BYTE_LEVEL)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    lines = ("#version: 0.2", *MERGES)
    (folder / "merges.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write(folder: Path, weights: dict[str, Tensor], settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
