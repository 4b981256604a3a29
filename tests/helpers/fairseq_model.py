"""A Transformer trained with fairseq, as one of ours: for tests of equality and for measurements side by side."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from fairseq_symbols import NUM_SPECIAL

from s2scli.checkpoint import Checkpoint, restore_config, restore_model, save_checkpoint
from s2scli.configs.importing import ImportConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.dataset import Dataset
from s2scli.data.facts import ModelColumns
from s2scli.data.shortlist import Shortlist
from s2scli.foreign.conversion import converted
from s2scli.foreign.fairseq_transformer import FairseqTransformer
from s2scli.foreign.source import ForeignSource
from s2scli.models.base import Model
from s2scli.models.factory import build_model, unique_parameters
from s2scli.preprocess import preprocess
from s2scli.schema import as_dict, build
from s2scli.text.subword import GivenSentencePieceTokenizer
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import read_dict_txt
from s2scli.text.word import WordTokenizer


def load_fairseq_model(folder: Path) -> tuple[Model, WordTokenizer, TrainConfig]:
    """The model of `folder` (fairseq_checkpoint.pt, dict.txt) with a tokenizer for its ready-made pieces."""
    path = folder / "fairseq_checkpoint.pt"
    wanted = ImportConfig(source=path, save_dir=folder)
    checkpoint = converted(FairseqTransformer.read(ForeignSource(path), wanted))
    tokenizer = WordTokenizer(read_dict_txt(folder / "dict.txt"))
    return restore_model(checkpoint, path), tokenizer, restore_config(checkpoint)


def convert_model(folder: Path, output: Path, pairs: Path | None = None) -> None:
    """Write the model of `folder` as one of our checkpoints, which reads and writes pieces.

    pairs: pairs.en and pairs.de are pieces from which a table for shortlists is learnt.
    """
    model, tokenizer, config = load_fairseq_model(folder)
    _save(output, model, tokenizer, config, None if pairs is None else _shortlist(pairs, tokenizer))


def convert_text_model(folder: Path, output: Path, pairs: Path | None = None) -> None:
    """Write the model of `folder` as one of our checkpoints, which reads and writes text by its spm.model.

    pairs: as in `convert_model`.
    """
    model, of_pieces, config = load_fairseq_model(folder)
    text = GivenSentencePieceTokenizer((folder / "spm.model").read_bytes(), of_pieces.vocabulary)
    _save(output, model, text, config, None if pairs is None else _shortlist(pairs, of_pieces))


def random_model_of_pieces(folder: Path, output: Path, arch: str) -> None:
    """Write a model with random weights, over the vocabulary of another."""
    tokenizer = WordTokenizer(read_dict_txt(folder / "dict.txt"))
    config = TrainConfig.resolve({}, {"data": "none", "arch": arch})
    torch.manual_seed(1)
    _save(
        output,
        build_model(config.model, ModelColumns.of({"source": tokenizer, "target": tokenizer})),
        tokenizer,
        config,
        None,
    )


def _save(
    output: Path, model: Model, tokenizer: Tokenizer, config: TrainConfig, shortlist: Shortlist | None
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
            shortlist=shortlist,
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
