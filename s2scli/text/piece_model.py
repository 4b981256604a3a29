"""What a SentencePiece model file says of its pieces: text, score and type, which kind of model it is, and what it does
to text before.

The file is a protocol buffer (sentencepiece_model.proto). SentencePiece's own interface gives neither the kind of
model nor which pieces are user-defined, so the few fields that matter are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

WORD_START = "\u2581"

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
# Wire types of protocol buffers.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class PieceModel:
    """A SentencePiece model: its kind, and each id's piece, score and type.

    kind: "unigram", "bpe", "word" or "char". score: a log-probability (unigram), or the higher the earlier a merge
    was learned (bpe). character_map: what rewrites characters, as the library has it; nothing: none is rewritten.
    begins_with_space: whether a space is put before text. has_single_spaces: whether spaces in a row become one, and
    none is left at the ends.
    """

    kind: str
    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    character_map: bytes = b""
    begins_with_space: bool = True
    has_single_spaces: bool = True

    @property
    def unknown(self) -> int:
        """The id of an unknown piece."""
        return self.types.index(UNKNOWN)

    def ids(self, *types: int) -> dict[str, int]:
        """Piece → id, of the pieces of some types."""
        return {
            piece: number
            for number, (piece, type_) in enumerate(zip(self.pieces, self.types, strict=True))
            if type_ in types
        }


def read_piece_model(data: bytes) -> PieceModel:
    """Read a model file; ValueError where it is none."""
    kind = 1
    normalizer: dict[int, int | bytes] = {}
    pieces: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            content = dict(_fields(value))
            pieces.append(bytes(content.get(1, b"")).decode("utf-8"))
            scores.append(struct.unpack("<f", bytes(content.get(2, bytes(4))))[0])
            types.append(int(content.get(3, NORMAL)))
        elif number == 2 and isinstance(value, bytes):
            kind = int(dict(_fields(value)).get(3, kind))
        elif number == 3 and isinstance(value, bytes):
            normalizer |= dict(_fields(value))
    if kind not in _KINDS or UNKNOWN not in types:
        raise ValueError("not a SentencePiece model")
    return PieceModel(
        _KINDS[kind],
        tuple(pieces),
        tuple(scores),
        tuple(types),
        character_map=bytes(normalizer.get(2, b"")),
        begins_with_space=bool(normalizer.get(3, True)),
        has_single_spaces=bool(normalizer.get(4, True)),
    )


def with_space_before(data: bytes) -> bytes:
    """The same model file, but that a space is put before text: of fields that are there twice, the last one counts."""
    return data + bytes([3 << 3 | _LENGTH, 2, 3 << 3 | _VARINT, 1])


def with_unused(data: bytes, ids: Collection[int]) -> bytes:
    """The same model file, but that it splits no text into the pieces of some ids.

    What a BPE model merges into such a piece on the way to another is still merged, and what stays one is taken apart.
    """
    unused, number, start, parts = {*ids}, 0, 0, []
    for field, value, end in _spans(data):
        if field == 1 and isinstance(value, bytes):
            if number in unused:
                content = value + bytes([3 << 3 | _VARINT, UNUSED])
                parts.append(bytes([1 << 3 | _LENGTH]) + _as_varint(len(content)) + content)
            else:
                parts.append(data[start:end])
            number += 1
        else:
            parts.append(data[start:end])
        start = end
    return b"".join(parts)


def _as_varint(value: int) -> bytes:
    """A whole number in groups of seven bits, the lowest first."""
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: number, and a whole number or the bytes of anything else."""
    return ((number, value) for number, value, _ in _spans(data))


def _spans(data: bytes) -> Iterator[tuple[int, int | bytes, int]]:
    """The fields of a message as `_fields` has them, and where each ends."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value, position
            continue
        if wire == _LENGTH:
            size, position = _varint(data, position)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"not a protocol buffer: wire type {wire}")
        if position + size > len(data):
            raise ValueError("a protocol buffer that ends too soon")
        position += size
        yield number, data[position - size : position], position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A whole number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while position < len(data):
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
    raise ValueError("a protocol buffer that ends too soon")
