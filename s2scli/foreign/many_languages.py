"""Tokenizers of models that know many languages: M2M-100, NLLB and mBART-50, whose lines begin with a code.

What a source or a target is of stands before it: `eng_Latn … </s>`; outputs begin with the code of their language.
"""

from __future__ import annotations

from s2scli.configs.importing import ImportConfig
from s2scli.errors import UsageError, did_you_mean
from s2scli.foreign.bart_kin_family import FolderText
from s2scli.foreign.folder import added_symbols, tokenizer_settings
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import TextUnits
from s2scli.foreign.vocabularies import OrderedVocabulary, SpecialIds, ordered_vocabulary
from s2scli.text.tokenizer import Tokenizer

_SIDES = ("source", "target")


def text_of_languages(
    source: ForeignSource,
    wanted: ImportConfig,
    settings: ForeignSettings,
    units: TextUnits,
    size: int,
    told: ForeignSettings,
) -> FolderText:
    """One vocabulary of so many symbols, and a tokenizer for the language of each side.

    told: the settings of the folder's tokenizer, which may name the languages. Raises UsageError as
    `_language_tokenizers` does.
    """
    ordered = _ordered_symbols(source, units, size, settings)
    return FolderText(
        orders={"source": ordered, "target": ordered},
        tokenizers=_language_tokenizers(source, wanted, units, ordered),
        languages={
            "source": wanted.source_lang or told.text("src_lang", ""),
            "target": wanted.target_lang or told.text("tgt_lang", ""),
        },
    )


def _ordered_symbols(
    source: ForeignSource, units: TextUnits, size: int, settings: ForeignSettings
) -> OrderedVocabulary:
    """The vocabulary of symbols that have fairseq's numbers, and those that were added; further ids have no symbol."""
    added = {number: symbol for symbol, number in added_symbols(source).items()}
    special = SpecialIds(
        start=settings.id("decoder_start_token_id", 2),
        end=settings.id("eos_token_id", 2),
        padding=settings.id("pad_token_id", 1),
        unknown=3,
        others=(0,),
    )
    return ordered_vocabulary({**added, **units.symbols}, size, special, units.path, is_padded=True)


def _language_tokenizers(
    source: ForeignSource,
    wanted: ImportConfig,
    units: TextUnits,
    ordered: OrderedVocabulary,
) -> dict[str, Tokenizer]:
    """The tokenizers of both sides, by the languages that are wanted, or that the folder has as its own.

    A code is a symbol as it is said or, in M2M-100, as `__en__`. Raises UsageError where a language is not said, or
    there is none such.
    """
    told = tokenizer_settings(source)
    known = [
        symbol
        for symbol in added_symbols(source)
        if symbol in ordered.vocabulary and not symbol.startswith("<")
    ]
    found: dict[str, Tokenizer] = {}
    for side, key in zip(_SIDES, ("src_lang", "tgt_lang"), strict=True):
        given = getattr(wanted, f"{side}_lang") or told.get(key)
        codes = known or ordered.vocabulary.ordinary_symbols
        if not isinstance(given, str) or not given:
            raise UsageError(
                f"--{side}-lang: must be given, as {', '.join(codes[:3])}: the model knows many languages"
            )
        code = next((text for text in (f"__{given}__", given) if text in ordered.vocabulary), None)
        if code is None:
            raise UsageError(f"--{side}-lang {given}: the model has no {given}{did_you_mean(given, codes)}")
        found[side] = units.tokenizer(ordered.vocabulary, first_symbol=code)
    return found
