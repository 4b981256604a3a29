"""The tokenizers that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s2scli.checkpoint_file import sides_of, tokenizer_bytes
from s2scli.text.tokenizer import Tokenizer, load_tokenizer


def read_tokenizers(stream: Any, header: Mapping[str, Any]) -> dict[str, Tokenizer]:
    """The tokenizers of a checkpoint that open_checkpoint has opened, normalization and user symbols included."""
    return {side: load_tokenizer(tokenizer_bytes(stream, side)) for side in sides_of(header)}
