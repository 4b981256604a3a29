"""Text that a model in another toolkit's folder reads and writes, by the tokenizers of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from s2scli.exporting.target import ModelToExport
from s2scli.foreign.vocabularies import OrderedVocabulary


class OwnText:
    """The tokenizers of a checkpoint, with the ids of a folder; longest: the most tokens of a source, None for any."""

    def __init__(
        self, source: ModelToExport, orders: Mapping[str, OrderedVocabulary], longest: int | None
    ) -> None:
        self._tokenizers, self._orders = source.checkpoint.tokenizers, orders
        self._last = None if longest is None else longest - 1
        self._back = {theirs: ours for ours, theirs in enumerate(orders["target"].order)}
        self._right_to_left = bool(source.checkpoint.config.get("right_to_left"))
        tokenizer = self._tokenizers["source"]
        self.padding = orders["source"].order[tokenizer.special.padding]

    def encode(self, text: str) -> list[int]:
        """The ids of a line that the model reads, with the end symbol."""
        tokenizer, order = self._tokenizers["source"], self._orders["source"].order
        return [order[token] for token in (*tokenizer.encode(text)[: self._last], tokenizer.special.end)]

    def padded(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """The ids of some lines in rows of one length, [B, S], and the mask of what is no padding, 1 and 0, [B, S]."""
        rows = [self.encode(text) for text in texts]
        longest = max(map(len, rows))
        ids = [row + [self.padding] * (longest - len(row)) for row in rows]
        return ids, [[1] * len(row) + [0] * (longest - len(row)) for row in rows]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an output, with or without its end symbol."""
        own = [self._back[token] for token in ids]
        return self._tokenizers["target"].decode(own[::-1] if self._right_to_left else own)
