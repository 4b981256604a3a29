"""Folders as of Firefox's translator: a tiny random student in Marian's binary format, its vocabulary and shortlist."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from foreign_models import sentencepiece_model
from sentencepiece import SentencePieceProcessor
from torch import Tensor

WIDTH, INNER, ENCODER_LAYERS, DECODER_LAYERS = 8, 12, 2, 1
FLOAT32, INT8 = 0x404, 0x4101
SETTINGS = f"""dec-cell: ssru
dec-depth: {DECODER_LAYERS}
dim-emb: {WIDTH}
dim-vocabs:
  - 60
  - 60
enc-depth: {ENCODER_LAYERS}
input-types: []
lemma-dim-emb: 0
tied-embeddings-all: true
transformer-decoder-autoreg: rnn
transformer-dim-ffn: {INNER}
transformer-ffn-activation: relu
transformer-ffn-depth: 2
transformer-heads: 2
transformer-no-projection: false
transformer-postprocess: dan
transformer-postprocess-emb: d
transformer-preprocess: ""
transformer-tied-layers:
  []
transformer-train-position-embeddings: false
type: transformer
version: v1
"""


def _matrices() -> dict[str, tuple[int, int]]:
    found = {}
    for side, layers in (("encoder", ENCODER_LAYERS), ("decoder", DECODER_LAYERS)):
        for number in range(1, layers + 1):
            layer = f"{side}_l{number}"
            attention = f"{layer}_self" if side == "encoder" else f"{layer}_context"
            found |= {f"{attention}_W{letter}": (WIDTH, WIDTH) for letter in "qkvo"}
            found |= {f"{layer}_ffn_W1": (WIDTH, INNER), f"{layer}_ffn_W2": (INNER, WIDTH)}
            if side == "decoder":
                found |= {f"{layer}_rnn_W": (WIDTH, WIDTH), f"{layer}_rnn_Wf": (WIDTH, WIDTH)}
    return found


def _vectors(size: int) -> dict[str, int]:
    found = {"decoder_ff_logit_out_b": size}
    for side, layers in (("encoder", ENCODER_LAYERS), ("decoder", DECODER_LAYERS)):
        for number in range(1, layers + 1):
            layer = f"{side}_l{number}"
            attention = f"{layer}_self" if side == "encoder" else f"{layer}_context"
            found |= {f"{attention}_b{letter}": WIDTH for letter in "qkvo"}
            found |= {f"{layer}_ffn_b1": INNER, f"{layer}_ffn_b2": WIDTH}
            norms = [f"{attention}_Wo", f"{layer}_ffn_ffn"]
            if side == "decoder":
                found[f"{layer}_rnn_bf"] = WIDTH
                norms.append(f"{layer}_rnn_ffn")
            found |= {f"{norm}_ln_{part}": WIDTH for norm in norms for part in ("scale", "bias")}
    return found


def student_weights(size: int) -> dict[str, Tensor]:
    """Random weights under Marian's names, such as int8 with a multiplier holds exactly where they are matrices."""
    draw = torch.Generator().manual_seed(5)
    shapes = {"Wemb": (size, WIDTH), **_matrices()}
    found = {name: torch.randint(-90, 91, shape, generator=draw) / 128 for name, shape in shapes.items()}
    for name, length in _vectors(size).items():
        found[name] = torch.randn(1, length, generator=draw) * 0.3 + ("scale" in name)
    return found


def write_binary(path: Path, weights: dict[str, Tensor], settings: str) -> None:
    """Write a file of version 1, its matrices quantized."""
    entries: list[tuple[bytes, int, tuple[int, ...], bytes]] = []
    for name, tensor in weights.items():
        if "_b" in name or "_ln_" in name:
            data, kind = tensor.float().numpy().tobytes(), FLOAT32
        else:
            stored = tensor if name == "Wemb" else tensor.T
            data = (stored * 128).round().to(torch.int8).contiguous().numpy().tobytes() + struct.pack(
                "<f", 128.0
            )
            kind = INT8
        entries.append((name.encode() + b"\0", kind, tuple(tensor.shape), data))
    text = settings.encode() + b"\0"
    entries.append((b"special:model.yml\0", 0x101, (len(text),), text))
    head = struct.pack("<2Q", 1, len(entries))
    head += b"".join(
        struct.pack("<4Q", len(name), kind, len(shape), len(data)) for name, kind, shape, data in entries
    )
    head += b"".join(name for name, _, _, _ in entries)
    head += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in entries)
    padding = -(len(head) + 8) % 256
    head += struct.pack("<Q", padding) + bytes(padding)
    path.write_bytes(head + b"".join(data for _, _, _, data in entries))


def write_shortlist(path: Path, table: list[list[int]]) -> None:
    """Write a binary shortlist: for each source symbol its target symbols."""
    offsets, ids = [0], []
    for row in table:
        ids += row
        offsets.append(len(ids))
    header = struct.pack("<6Q", 0xF11A48D5013417F5, 0, 4, 4, len(offsets), len(ids))
    path.write_bytes(header + struct.pack(f"<{len(offsets)}Q", *offsets) + struct.pack(f"<{len(ids)}I", *ids))


def marian_folder(folder: Path) -> Path:
    """A folder with a model, model.bin, its vocabulary and a shortlist."""
    folder.mkdir(parents=True, exist_ok=True)
    data = sentencepiece_model(1, eos_id=0, unk_id=1, bos_id=-1, pad_id=-1)
    size = len(SentencePieceProcessor(model_proto=data))
    (folder / "vocab.spm").write_bytes(data)
    write_binary(folder / "model.bin", student_weights(size), SETTINGS)
    table = [[], *([(number * 7) % size, (number * 3) % size] for number in range(1, size))]
    write_shortlist(folder / "lex.s2t.bin", table)
    return folder
