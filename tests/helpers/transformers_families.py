"""Folders of transformers, of each family that is imported, with tiny random models and what they read of a text.

Tests that import this are skipped where transformers is not installed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import LANGUAGES, sentencepiece_model, text_lines, write_model
from sentencepiece import SentencePieceProcessor

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers", reason="the extra interop is not installed")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

SOURCE, TARGET = text_lines(1)[0], text_lines(2)[1]
# Odd sizes: what is taken for another does not fit.
SIZES: dict[str, Any] = {
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 36,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 64,
    "forced_eos_token_id": None,
}
FAIRSEQ_IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}


def pieces(model: bytes, text: str) -> list[str]:
    found: list[str] = SentencePieceProcessor(model_proto=model).encode(text, out_type=str)
    return found


def marian(folder: Path, *, separate: bool = False) -> dict[str, Any]:
    """A folder as of OPUS-MT, and the ids that its model reads and writes."""
    models = sentencepiece_model(1), sentencepiece_model(2, 50)
    own = [
        [model.id_to_piece(number) for number in range(3, len(model))]
        for model in (SentencePieceProcessor(model_proto=data) for data in models)
    ]
    symbols = [own[0], own[1]] if separate else [[*own[0], *own[1]]] * 2
    ids = [
        {
            symbol: number
            for number, symbol in enumerate(dict.fromkeys(["</s>", "<unk>", *side, ">>xx<<", "<pad>"]))
        }
        for side in symbols
    ]
    config = transformers.MarianConfig(
        **SIZES,
        vocab_size=len(ids[0]),
        decoder_vocab_size=len(ids[1]),
        share_encoder_decoder_embeddings=not separate,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=ids[1]["<pad>"],
        decoder_start_token_id=ids[1]["<pad>"],
        eos_token_id=0,
    )
    model = transformers.MarianMTModel(config)
    model.final_logits_bias += torch.randn_like(model.final_logits_bias)
    files = {
        "source.spm": models[0],
        "target.spm": models[1],
        "vocab.json": ids[0],
        "target_vocab.json": ids[1],
    }
    write_model(folder, model, {**files, "tokenizer_config.json": {"separate_vocabs": separate}})
    target = [ids[1].get(piece, 1) for piece in pieces(models[1], TARGET)]
    return {
        "model": model,
        "text": f">>xx<< {SOURCE}",
        "source": [ids[0][">>xx<<"], *(ids[0].get(piece, 1) for piece in pieces(models[0], SOURCE)), 0],
        "target": [ids[1]["<pad>"], *target],
    }


def t5(folder: Path, kind: str = "T5", **settings: Any) -> dict[str, Any]:
    """A folder as of T5 or MT5, with heads whose widths do not add up to the model's, and an odd ε."""
    data = sentencepiece_model(1, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(SentencePieceProcessor(model_proto=data)) + 100 + 7,
        d_model=24,
        d_kv=10,
        d_ff=36,
        num_layers=2,
        num_decoder_layers=3,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
        layer_norm_epsilon=1e-3,
        initializer_factor=0.3,  # large scores would differ by their rounding
        decoder_start_token_id=0,
        **settings,
    )
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    write_model(folder, model, {"spiece.model": data}, shard="40KB")
    numbers = SentencePieceProcessor(model_proto=data)
    return {
        "model": model,
        "text": SOURCE,
        "source": [*numbers.encode(SOURCE), 1],
        "target": [0, *numbers.encode(TARGET)],
    }


def pegasus(folder: Path) -> dict[str, Any]:
    data = sentencepiece_model(1, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    numbers = SentencePieceProcessor(model_proto=data)
    config = transformers.PegasusConfig(
        **SIZES, vocab_size=len(numbers) + 103, activation_function="relu", decoder_start_token_id=0
    )
    model = transformers.PegasusForConditionalGeneration(config)
    write_model(folder, model, {"spiece.model": data})
    return {
        "model": model,
        "text": SOURCE,
        "source": [*(number + 103 for number in numbers.encode(SOURCE)), 1],
        "target": [0, *(number + 103 for number in numbers.encode(TARGET))],
    }


def of_many_languages(folder: Path, config: Any, model: Any, *, library: bool = False) -> dict[str, Any]:
    """A folder whose ids are those of SentencePiece's and one more, with codes of languages behind them.

    library: with a tokenizer.json in place of SentencePiece's file.
    """
    data = sentencepiece_model(1)
    numbers = SentencePieceProcessor(model_proto=data)
    codes = {code: len(numbers) + 1 + place for place, code in enumerate(LANGUAGES)}
    made = model(config(**SIZES, **FAIRSEQ_IDS, vocab_size=len(numbers) + 5, scale_embedding=True))
    added = {str(number): {"content": code} for code, number in codes.items()}
    files = {"sentencepiece.bpe.model": data, "tokenizer_config.json": {"added_tokens_decoder": added}}
    if library:
        files = {"tokenizer.json": same_in_library(numbers)}
    write_model(folder, made, files)
    return {
        "model": made,
        "text": SOURCE,
        "source": [codes["en_XX"], *(number + 1 for number in numbers.encode(SOURCE)), 2],
        "target": [2, codes["ro_RO"], *(number + 1 for number in numbers.encode(TARGET))],
        "settings": {"source_lang": "en_XX", "target_lang": "ro_RO"},
    }


def same_in_library(numbers: SentencePieceProcessor) -> bytes:
    """A model of SentencePiece as tokenizer.json, fairseq's symbols before its pieces and codes behind them."""
    library = pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
    first = [(symbol, 0.0) for symbol in ("<s>", "<pad>", "</s>", "<unk>")]
    own = [(numbers.id_to_piece(number), numbers.get_score(number)) for number in range(3, len(numbers))]
    last = [(code, -100.0) for code in LANGUAGES]
    made = library.Tokenizer(library.models.Unigram([*first, *own, *last], unk_id=3, byte_fallback=False))
    made.pre_tokenizer, made.decoder = library.pre_tokenizers.Metaspace(), library.decoders.Metaspace()
    description: str = made.to_str()
    return description.encode()


def mbart(folder: Path) -> dict[str, Any]:
    return of_many_languages(folder, transformers.MBartConfig, transformers.MBartForConditionalGeneration)


def nllb(folder: Path) -> dict[str, Any]:
    return of_many_languages(folder, transformers.M2M100Config, transformers.M2M100ForConditionalGeneration)


def m2m_100(folder: Path) -> dict[str, Any]:
    """A folder with a vocabulary beside the model of SentencePiece, in another order."""
    data = sentencepiece_model(1)
    numbers = SentencePieceProcessor(model_proto=data)
    own = sorted((numbers.id_to_piece(number) for number in range(3, len(numbers))), reverse=True)
    ids = {symbol: number for number, symbol in enumerate(["<s>", "<pad>", "</s>", "<unk>", *own])}
    codes = {f"__{code}__": len(ids) + place for place, code in enumerate(LANGUAGES)}
    config = transformers.M2M100Config(
        **SIZES, **FAIRSEQ_IDS, vocab_size=len(ids) + 11, activation_function="relu"
    )
    model = transformers.M2M100ForConditionalGeneration(config)
    write_model(
        folder, model, {"sentencepiece.bpe.model": data, "vocab.json": ids, "added_tokens.json": codes}
    )
    return {
        "model": model,
        "text": SOURCE,
        "source": [codes["__en_XX__"], *(ids[piece] for piece in pieces(data, SOURCE)), 2],
        "target": [2, codes["__ro_RO__"], *(ids[piece] for piece in pieces(data, TARGET))],
        "settings": {"source_lang": "en_XX", "target_lang": "ro_RO"},
    }


def bart(folder: Path) -> dict[str, Any]:
    """A folder with byte-level BPE, whose sources and targets begin with <s>."""
    library = pytest.importorskip("tokenizers")
    learnt = library.ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    learnt.train_from_iterator(text_lines(1), vocab_size=330, show_progress=False, special_tokens=specials)
    size = learnt.get_vocab_size()
    config = transformers.BartConfig(
        **SIZES, **FAIRSEQ_IDS, vocab_size=size + 2, activation_function="gelu_new"
    )
    model = transformers.BartForConditionalGeneration(config)
    write_model(folder, model, {"tokenizer.json": learnt.to_str().encode()})
    return {
        "model": model,
        "text": SOURCE,
        "source": [0, *learnt.encode(SOURCE).ids, 2],
        "target": [2, 0, *learnt.encode(TARGET).ids],
    }


FAMILIES: dict[str, Any] = {
    "marian": marian,
    "marian, two vocabularies": lambda folder: marian(folder, separate=True),
    "t5": t5,
    "mt5": lambda folder: t5(folder, "MT5", feed_forward_proj="gated-gelu"),
    "t5 1.1": lambda folder: t5(folder, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "pegasus": pegasus,
    "mbart": mbart,
    "nllb": nllb,
    "nllb, tokenizer.json": lambda folder: of_many_languages(
        folder,
        transformers.M2M100Config,
        transformers.M2M100ForConditionalGeneration,
        library=True,
    ),
    "m2m_100": m2m_100,
    "bart": bart,
}
