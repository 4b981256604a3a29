"""Tokenizers of folders that have a tokenizer.json, or the older files that one can be made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from s2scli import document
from s2scli.errors import CheckpointError
from s2scli.foreign.folder import read_text, read_vocabulary, required, tokenizer_settings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import TextUnits
from s2scli.text.library import library_symbols

_LIBRARY = "tokenizer.json"
# The symbol between texts in byte-level BPE, where a folder says no other.
END = "<|endoftext|>"


def read_description(
    source: ForeignSource, older: str, describe: Callable[[ForeignSource], Mapping[str, Any]]
) -> TextUnits:
    """What a folder splits text into, as its tokenizer.json says, or what `describe` makes of an older file.

    Raises CheckpointError where neither is there.
    """
    path = required(source, _LIBRARY, older)
    description = read_text(path) if path.name == _LIBRARY else json.dumps(describe(source))
    with document.blaming(path, "take another copy of the folder", CheckpointError):
        return TextUnits(path, library_symbols(description), description=description)


def special_symbol(source: ForeignSource, role: str, default: str) -> str:
    """The symbol that a folder's tokenizer has for a role, as "cls_token"."""
    value = tokenizer_settings(source).get(role)
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else default


def id_of(symbol: str, units: TextUnits) -> int:
    """The id of a symbol; CheckpointError where there is none such."""
    for number, other in units.symbols.items():
        if other == symbol:
            return number
    raise CheckpointError(f"{units.path}: has no {symbol}")


def word_piece(source: ForeignSource) -> dict[str, Any]:
    """The description of the WordPiece of a vocab.txt, a symbol a line (Devlin et al. 2019)."""
    settings = tokenizer_settings(source)
    symbols = read_text(required(source, "vocab.txt")).split("\n")
    ids = {symbol.rstrip("\r"): number for number, symbol in enumerate(symbols) if symbol.rstrip("\r")}
    roles = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    names = {role: special_symbol(source, role, f"[{role.removesuffix('_token').upper()}]") for role in roles}
    return _description(
        {name: ids[name] for name in names.values() if name in ids},
        model={
            "type": "WordPiece",
            "unk_token": names["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": settings.get("tokenize_chinese_chars") is not False,
            "strip_accents": settings.get("strip_accents"),
            "lowercase": settings.get("do_lower_case") is not False,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )


def byte_level(source: ForeignSource) -> dict[str, Any]:
    """The description of the byte-level BPE of vocab.json and merges.txt (Radford et al. 2019)."""
    ids = read_vocabulary(source, "vocab.json")
    lines = read_text(required(source, "merges.txt")).split("\n")
    merges = [line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#version")]
    end = special_symbol(source, "eos_token", END)
    parts = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return _description(
        {end: ids[end]} if end in ids else {},
        model={
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": ids,
            "merges": merges,
        },
        normalizer=None,
        pre_tokenizer=parts,
        decoder=parts,
    )


def _description(special: Mapping[str, int], **parts: Any) -> dict[str, Any]:
    """What tokenizer.json would say; special: symbols that no text is split into, with their ids."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": number, "content": name, **flags, "special": True}
        for name, number in sorted(special.items(), key=lambda item: item[1])
    ]
    nothing = dict.fromkeys(("truncation", "padding", "post_processor"))
    return {"version": "1.0", **nothing, "added_tokens": added, **parts}
