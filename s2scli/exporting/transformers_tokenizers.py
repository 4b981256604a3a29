"""The tokenizer in a folder of transformers: Marian's, of two SentencePiece models, or one of the library's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from s2scli.data.exported import unique_names
from s2scli.errors import UsageError
from s2scli.exporting.library_tokenizer import describe, first_symbol_of, names_of
from s2scli.exporting.target import ModelToExport
from s2scli.io import write_atomically
from s2scli.record import to_json_text
from s2scli.text.normalization import Normalization
from s2scli.text.piece_model import with_space_before
from s2scli.text.subword import GivenSentencePieceTokenizer, SentencePieceTokenizer
from s2scli.text.tokenizer import Tokenizer


def write_tokenizers(source: ModelToExport, folder: Path, family: str, positions: int) -> str:
    """Write the files of a tokenizer, and give nothing; or write none, and give the reason.

    positions: how long an input may be, 0 for no limit.
    """
    tokenizers = source.checkpoint.tokenizers
    settings: dict[str, Any] = {
        **({"model_max_length": positions} if positions else {}),
        "clean_up_tokenization_spaces": False,
    }
    if family == "marian" and all(map(_is_marian, tokenizers.values())):
        _write_marian(source, folder, settings)
        return ""
    try:
        if _text_of(tokenizers["source"]) != _text_of(tokenizers["target"]):
            raise UsageError("source and target have tokenizers of their own")
        firsts = [first_symbol_of(tokenizer) for tokenizer in tokenizers.values()]
        description = describe(tokenizers["source"], [number for number in firsts if number is not None])
    except UsageError as error:
        return str(error)
    _write(folder / "tokenizer.json", description)
    own = tokenizers["source"]
    names = names_of(own)
    first = first_symbol_of(own)
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", **_special(own)}
    if family == "pegasus":
        # By it the unknown symbol is found, which stands two ids behind it.
        settings["offset"] = own.special.unknown - 2
    if first is not None:
        target = tokenizers["target"]
        settings |= {"src_lang": names[first], "tgt_lang": names[cast(int, first_symbol_of(target))]}
        if family == "bart":
            settings["bos_token"] = names[first]
    _write_json(folder / "tokenizer_config.json", settings)
    return ""


def _is_marian(tokenizer: Tokenizer) -> bool:
    """Whether Marian's tokenizer can be like it: it reads a tag `>>xx<<` before text, and pieces."""
    kinds = (SentencePieceTokenizer.kind, GivenSentencePieceTokenizer.kind)
    return (
        tokenizer.kind in kinds
        and tokenizer.normalization == Normalization()
        and all(symbol.startswith(">>") and symbol.endswith("<<") for symbol in tokenizer.user_symbols)
    )


def _write_marian(source: ModelToExport, folder: Path, settings: Mapping[str, Any]) -> None:
    vocabularies = {}
    for side, tokenizer in source.checkpoint.tokenizers.items():
        own = cast(SentencePieceTokenizer, tokenizer)
        # Our own models are given a text with a space before it.
        is_ours = own.kind == SentencePieceTokenizer.kind
        with write_atomically(folder / f"{side}.spm") as temporary:
            temporary.write_bytes(with_space_before(own.model) if is_ours else own.model)
        vocabularies[side] = {name: number for number, name in enumerate(unique_names(own.vocabulary))}
    _write_json(folder / "vocab.json", vocabularies["source"])
    is_separate = vocabularies["source"] != vocabularies["target"]
    if is_separate:
        _write_json(folder / "target_vocab.json", vocabularies["target"])
    languages = {side: source.checkpoint.dataset.get(f"{side}_lang") for side in vocabularies}
    told = {f"{side}_lang": language for side, language in languages.items() if language}
    values = {"tokenizer_class": "MarianTokenizer", "separate_vocabs": is_separate, **told, **settings}
    _write_json(folder / "tokenizer_config.json", values | _special(source.checkpoint.tokenizers["source"]))


def _special(tokenizer: Tokenizer) -> dict[str, str]:
    """What special symbols are called; where two of them are one, it has one name."""
    names, special = names_of(tokenizer), tokenizer.special
    return {
        "unk_token": names[special.unknown],
        "eos_token": names[special.end],
        "pad_token": names[special.padding],
    }


def _text_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """What says how a tokenizer splits text, but not what stands before it, or how often symbols were seen."""
    left_out = ("first_symbol", "counts")
    return {name: value for name, value in tokenizer.document().items() if name not in left_out}


def _write(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    _write(path, f"{to_json_text(values, indent=2)}\n")
