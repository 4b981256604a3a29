"""Marian's models as folders of transformers, among them OPUS-MT's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.data.source_form import SourceForm
from s2scli.errors import CheckpointError
from s2scli.foreign.bart_kin import SOURCE, TARGET, BartKind
from s2scli.foreign.bart_kin_family import BartKinFamily, FolderText
from s2scli.foreign.bart_kin_writing import written
from s2scli.foreign.folder import read_vocabulary, required, tokenizer_settings
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import has_library, read_library
from s2scli.foreign.vocabularies import OrderedVocabulary, SpecialIds, ordered_vocabulary, unread_start
from s2scli.foreign.writing import ModelToWrite
from s2scli.text.subword import GivenSentencePieceTokenizer, read_sentencepiece_model
from s2scli.text.tokenizer import Tokenizer


class MarianFolder(BartKinFamily):
    """MarianMTModel of transformers."""

    title = "a Marian model of transformers"
    architecture = "MarianMTModel"
    model_type = "marian"
    kind = BartKind(
        normalize_before=False,
        layernorm_embedding=False,
        positions={"positions": "sinusoidal", "sinusoid_spacing": "paper", "position_offset": 0},
        skipped=0,
    )

    @classmethod
    def text(
        cls,
        source: ForeignSource,
        wanted: ImportConfig,
        settings: ForeignSettings,
        weights: Mapping[str, Tensor],
    ) -> FolderText:
        """A vocabulary for both sides or for each, and the languages that sources may begin with as tags."""
        told = ForeignSettings(tokenizer_settings(source), source.path)
        names = {"source": "vocab.json", "target": "vocab.json"}
        if told.flag("separate_vocabs", False):
            names["target"] = "target_vocab.json"
        # Of models that have no pieces of Marian's, there may be a tokenizer of the library.
        units = None if source.file(names["source"]) or not has_library(source) else read_library(source)
        orders: dict[str, OrderedVocabulary] = {}
        tokenizers: dict[str, Tokenizer] = {}
        for side, name in (("source", SOURCE), ("target", TARGET)):
            if name not in weights:
                raise CheckpointError(f"{source.path}: has no {name}")
            ids = read_vocabulary(source, names[side]) if units is None else units.ids
            where = source.folder / names[side] if units is None else units.path
            special = _special(ids, where)
            if side == "target":
                special = replace(special, start=_start(special, settings))
            symbols = {number: symbol for symbol, number in ids.items()}
            orders[side] = ordered_vocabulary(symbols, len(weights[name]), special, where)
            if units is not None:
                tokenizers[side] = units.tokenizer(orders[side].vocabulary)
                continue
            codes = [symbol for symbol in ids if symbol.startswith(">>") and symbol.endswith("<<")]
            tokenizers[side] = GivenSentencePieceTokenizer(
                read_sentencepiece_model(required(source, f"{side}.spm")),
                orders[side].vocabulary,
                user_symbols=codes if side == "source" else (),
            )
        return FolderText(
            orders=orders,
            tokenizers=tokenizers,
            languages={
                "source": wanted.source_lang or told.text("source_lang", ""),
                "target": wanted.target_lang or told.text("target_lang", ""),
            },
            source_form=SourceForm(tags=tokenizers["source"].user_symbols),
        )

    @classmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As its kind, which may have a table of embeddings, and a vocabulary, for each side."""
        settings, weights = written(cls.kind, model, has_two_sizes=True)
        sides = {
            "decoder_vocab_size": model.sizes()[1],
            "share_encoder_decoder_embeddings": model.is_one_table,
        }
        return {**settings, **sides}, weights


def _special(ids: Mapping[str, int], path: Path) -> SpecialIds:
    """The special symbols of a side: its end symbol is the first there, and padding the last."""
    for symbol in ("</s>", "<unk>", "<pad>"):
        if symbol not in ids:
            raise CheckpointError(f"{path}: has no {symbol}")
    end, padding = ids["</s>"], ids["<pad>"]
    unknown = ids["<unk>"]
    others = unread_start({number: symbol for symbol, number in ids.items()}, unknown)
    return SpecialIds(start=end, end=end, padding=padding, unknown=unknown, others=others)


def _start(special: SpecialIds, settings: ForeignSettings) -> int:
    """What the decoder begins with: padding, whose embedding is zero."""
    start = settings.id("decoder_start_token_id", special.padding)
    if start not in (special.padding, special.end):
        settings.refuse("decoder_start_token_id", f"{special.padding}, <pad>, or {special.end}, </s>")
    return start
