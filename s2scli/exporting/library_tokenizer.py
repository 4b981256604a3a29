"""Tokenizers of ours as tokenizer.json, the file of the library `tokenizers`, by which transformers splits text."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from s2scli.data.exported import unique_names
from s2scli.errors import UsageError
from s2scli.text.escaping import SPACE
from s2scli.text.first_symbol import FirstSymbol
from s2scli.text.library import LibraryTokenizer
from s2scli.text.normalization import Normalization
from s2scli.text.piece_model import BYTE, NORMAL, USER_DEFINED, PieceModel, read_piece_model
from s2scli.text.pieces import NONE
from s2scli.text.subword import SentencePieceTokenizer
from s2scli.text.tokenizer import Tokenizer

# What our own SentencePiece models read in place of characters that they keep for themselves, see text/escaping.py.
_ESCAPED = {"\u2582": "\u2582\u2582", SPACE: "\u25821", "\u2585": "\u25825"}
# A character that is none, which stands for the first of those while the others are put back: it escapes itself.
_MEANWHILE = "\ufdd0"
# Of symbols that no text is split into.
_NEVER = -1e4


def describe(tokenizer: Tokenizer, hidden: Iterable[int] = ()) -> str:
    """The tokenizer as tokenizer.json; UsageError, with the reason, for one that the library has not.

    hidden: our ids of symbols that text is shown without, as special ones, where a file of the library's does not say.
    """
    if tokenizer.kind not in _KINDS:
        raise UsageError(f"it is of kind {tokenizer.kind}")
    if tokenizer.normalization != Normalization():
        raise UsageError("it normalizes text before")
    values = _KINDS[tokenizer.kind](tokenizer)
    names, order = names_of(tokenizer), library_order(tokenizer) or range(len(tokenizer))
    known = {item["content"] for item in values["added_tokens"]}
    values = {
        **values,
        "added_tokens": [
            *values["added_tokens"],
            *(
                _added(order[number], names[number], is_special=True)
                for number in sorted({*range(tokenizer.special.count), *hidden})
                if names[number] not in known
            ),
        ],
        "truncation": None,
        "padding": None,
        "post_processor": _around(tokenizer),
    }
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def library_order(tokenizer: Tokenizer) -> tuple[int, ...] | None:
    """The ids that the library's own file has of our ids; None for a tokenizer that is none of the library's."""
    return _order(cast(LibraryTokenizer, tokenizer)) if tokenizer.kind == LibraryTokenizer.kind else None


def names_of(tokenizer: Tokenizer) -> list[str]:
    """What each of our ids is called in tokenizer.json."""
    names = unique_names(tokenizer.vocabulary)
    if tokenizer.kind != LibraryTokenizer.kind:
        return names
    own = cast(LibraryTokenizer, tokenizer)
    theirs = {number: symbol for symbol, number in own.library_ids.items()}
    return [theirs.get(number, name) for number, name in zip(_order(own), names, strict=True)]


def _order(tokenizer: LibraryTokenizer) -> tuple[int, ...]:
    """Ids by what symbols are called; special ones that are called otherwise there have those left, in order."""
    known = tokenizer.library_ids
    found = [known.get(symbol, _number_of(symbol)) for symbol in tokenizer.vocabulary.symbols]
    left = iter(sorted(set(range(len(found))) - {number for number in found if number is not None}))
    return tuple(next(left) if number is None else number for number in found)


def _number_of(symbol: str) -> int | None:
    """The id in the name of a symbol that stands for nothing, see `ordered_vocabulary`; None for others."""
    named = re.fullmatch(r"<unused (\d+)>", symbol)
    return None if named is None else int(named[1])


def _from_library(tokenizer: Tokenizer) -> dict[str, Any]:
    """The library's own file."""
    values: dict[str, Any] = json.loads(cast(LibraryTokenizer, tokenizer).description)
    return {**values, "added_tokens": values.get("added_tokens") or []}


def _from_pieces(tokenizer: Tokenizer) -> dict[str, Any]:
    own = cast(SentencePieceTokenizer, tokenizer)
    model = read_piece_model(own.model)
    names, special = unique_names(own.vocabulary), own.special
    known = model.ids(NORMAL, BYTE, USER_DEFINED)
    if left_out := [piece for piece in model.ids(NORMAL, BYTE) if piece not in own.vocabulary]:
        raise UsageError(f"its vocabulary leaves out pieces of its model, as {left_out[0]!r}")
    if model.kind not in _MODELS:
        raise UsageError(f"its model of SentencePiece is of kind {model.kind}")
    is_ours = own.kind == SentencePieceTokenizer.kind
    whole = model.ids(USER_DEFINED)
    added = [
        _added(number, name, is_special=name not in known)
        for number, name in enumerate(names)
        if number >= special.count
        and (name in whole or (name not in known and not name.startswith("<unused")))
    ]
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": _normalizer(model, is_ours=is_ours),
        "pre_tokenizer": None,
        "decoder": _decoder(model, is_ours=is_ours),
        "model": _MODELS[model.kind](model, names, special.unknown),
    }


def _added(number: int, name: str, *, is_special: bool) -> dict[str, Any]:
    """A symbol that is cut out of text before that is split; special: text that is shown is without it."""
    return {
        "id": number,
        "content": name,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": is_special,
    }


def _normalizer(model: PieceModel, *, is_ours: bool) -> dict[str, Any]:
    """What is done to a text before it is split; is_ours: a space is put before it, and some characters escaped."""
    steps: list[dict[str, Any]] = []
    if is_ours:
        steps += [_replace(character, escaped) for character, escaped in _ESCAPED.items()]
    if model.character_map:
        text = base64.b64encode(model.character_map).decode("ascii")
        steps.append({"type": "Precompiled", "precompiled_charsmap": text})
    if model.has_single_spaces:
        steps += [
            {"type": "Strip", "strip_left": True, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ]
    if is_ours or model.begins_with_space:
        steps.append({"type": "Prepend", "prepend": SPACE})
    return {"type": "Sequence", "normalizers": [*steps, _replace(" ", SPACE)]}


def _decoder(model: PieceModel, *, is_ours: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if is_ours or model.begins_with_space:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    if is_ours:
        (first, twice), *others = _ESCAPED.items()
        steps.append(_replace(twice, _MEANWHILE))
        steps += [_replace(escaped, character) for character, escaped in others]
        steps.append(_replace(_MEANWHILE, first))
    return {"type": "Sequence", "decoders": steps}


def _replace(text: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": text}, "content": content}


def _unigram(model: PieceModel, names: Sequence[str], unknown: int) -> dict[str, Any]:
    scores = dict(zip(model.pieces, model.scores, strict=True))
    return {
        "type": "Unigram",
        "unk_id": unknown,
        "vocab": [[name, scores.get(name, _NEVER)] for name in names],
        "byte_fallback": BYTE in model.types,
    }


def _bpe(model: PieceModel, names: Sequence[str], unknown: int) -> dict[str, Any]:
    """Byte-pair encoding, whose merges are all that make a piece of two others, in the order of learning."""
    learnt = model.ids(NORMAL)
    merges: list[list[str]] = []
    for piece in sorted(learnt, key=lambda piece: (-model.scores[learnt[piece]], learnt[piece])):
        pairs = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        merges += [[*pair] for pair in pairs if pair[0] in learnt and pair[1] in learnt]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": names[unknown],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": BYTE in model.types,
        "ignore_merges": False,
        "vocab": {name: number for number, name in enumerate(names)},
        "merges": merges,
    }


_MODELS: dict[str, Callable[[PieceModel, Sequence[str], int], dict[str, Any]]] = {
    "unigram": _unigram,
    "bpe": _bpe,
}


def _from_words(tokenizer: Tokenizer) -> dict[str, Any]:
    if tokenizer.user_symbols:
        raise UsageError(f"it cuts symbols out of words, as {tokenizer.user_symbols[0]!r}")
    if tokenizer.piece_kind != NONE:
        raise UsageError(f"its words come in pieces, {tokenizer.piece_kind}")
    names, special = unique_names(tokenizer.vocabulary), tokenizer.special
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {name: number for number, name in enumerate(names)},
            "unk_token": names[special.unknown],
        },
    }


def _around(tokenizer: Tokenizer) -> dict[str, Any]:
    """What stands around a line: the first symbol, where there is one, and the end symbol."""
    order = library_order(tokenizer) or range(len(tokenizer))
    names, end = names_of(tokenizer), tokenizer.special.end
    first = first_symbol_of(tokenizer)
    ids = {names[number]: order[number] for number in ([] if first is None else [first]) + [end]}
    before = [] if first is None else [_template(names[first])]
    return {
        "type": "TemplateProcessing",
        "single": [*before, {"Sequence": {"id": "A", "type_id": 0}}, _template(names[end])],
        "pair": [
            *before,
            {"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 0}},
            _template(names[end]),
        ],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ids.items()
        },
    }


def _template(name: str) -> dict[str, Any]:
    return {"SpecialToken": {"id": name, "type_id": 0}}


def first_symbol_of(tokenizer: Tokenizer) -> int | None:
    """The id of the symbol that a tokenizer puts before each line; None for one that puts nothing there."""
    symbol = tokenizer.first_symbol if isinstance(tokenizer, FirstSymbol) else None
    return None if symbol is None else tokenizer.vocabulary.lookup(symbol)


_KINDS: dict[str, Callable[[Tokenizer], dict[str, Any]]] = {
    "sentencepiece": _from_pieces,
    "given sentencepiece": _from_pieces,
    "sentencepiece with a language code": _from_pieces,
    "tokenizers": _from_library,
    "word": _from_words,
}
