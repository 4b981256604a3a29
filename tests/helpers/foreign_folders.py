"""The folders that the manual's chapter about other toolkits reads, with tiny random models."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from fairseq_files import TRANSFORMER, random_weights, transformer_shapes, write_checkpoint
from foreign_models import sentencepiece_model
from half_folders import write_bert, write_gpt2
from marian_files import marian_folder
from safetensors.torch import save_file
from sentencepiece import SentencePieceProcessor


def write_foreign_folders(folder: Path) -> None:
    """Write the folders fairseq, opus-mt-en-de, firefox, bert-base and gpt2-small."""
    weights = random_weights(transformer_shapes(TRANSFORMER))
    write_checkpoint(folder / "fairseq", TRANSFORMER, weights, ("en", "de"))
    write_opus(folder / "opus-mt-en-de")
    marian_folder(folder / "firefox")
    write_bert(folder / "bert-base")
    write_gpt2(folder / "gpt2-small", n_positions=1024)


def write_opus(folder: Path) -> None:
    """Write a folder as transformers has it of OPUS-MT's models, with one vocabulary for both sides."""
    folder.mkdir(parents=True)
    data = sentencepiece_model()
    model = SentencePieceProcessor(model_proto=data)
    pieces = [model.id_to_piece(number) for number in range(3, len(model))]
    ids = {symbol: number for number, symbol in enumerate(["</s>", "<unk>", *pieces, ">>deu<<", "<pad>"])}
    layers = random_weights(transformer_shapes(TRANSFORMER, len(ids)))
    named = {f"model.{name}": tensor for name, tensor in layers.items() if ".layers." in name}
    shared = layers["encoder.embed_tokens.weight"]
    shared[-1] = 0
    bias = torch.zeros(1, len(ids))
    save_file(
        {**named, "model.shared.weight": shared, "final_logits_bias": bias}, folder / "model.safetensors"
    )
    config = {
        "model_type": "marian",
        "d_model": TRANSFORMER["encoder_embed_dim"],
        "vocab_size": len(ids),
        "activation_function": "swish",
        "scale_embedding": True,
        "pad_token_id": ids["<pad>"],
        "eos_token_id": 0,
        "decoder_start_token_id": ids["<pad>"],
        "max_position_embeddings": 64,
    }
    for side in ("encoder", "decoder"):
        config |= {
            f"{side}_layers": TRANSFORMER[f"{side}_layers"],
            f"{side}_attention_heads": TRANSFORMER[f"{side}_attention_heads"],
            f"{side}_ffn_dim": TRANSFORMER[f"{side}_ffn_embed_dim"],
        }
    files = {"config.json": config, "vocab.json": ids, "tokenizer_config.json": {"source_lang": "en"}}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    for side in ("source", "target"):
        (folder / f"{side}.spm").write_bytes(data)
