"""What transformers makes of lines with a folder that was written for it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from s2scli.configs.search import SearchConfig
from s2scli.exporting.own_text import OwnText
from s2scli.exporting.target import ModelToExport
from s2scli.foreign.vocabularies import OrderedVocabulary
from s2scli.inference.lines import Line
from s2scli.text.normalization import is_blank

# Lines that are translated together.
_BATCH = 16


def translated(
    source: ModelToExport,
    folder: Path,
    orders: Mapping[str, OrderedVocabulary],
    lines: Sequence[Line],
    done: Callable[[int], object],
) -> list[str]:
    """The greedy outputs for lines, by the folder's own tokenizer, or by ours where it has none.

    Lines with more tokens than there are positions are cut. ModuleNotFoundError where transformers is not installed.
    """
    with warnings.catch_warnings():
        # The library warns of packages that it could use, and of its own future.
        warnings.simplefilter("ignore")
        return _translated(source, folder, orders, lines, done)


def _translated(
    source: ModelToExport,
    folder: Path,
    orders: Mapping[str, OrderedVocabulary],
    lines: Sequence[Line],
    done: Callable[[int], object],
) -> list[str]:
    library = _library()
    model = library.AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True).eval()
    is_own = (folder / "tokenizer_config.json").is_file()
    positions = getattr(model.config, "max_position_embeddings", None)
    text = _FoldersText(library, folder) if is_own else _OwnBatches(OwnText(source, orders, positions))
    found: dict[int, str] = {}
    ordered = sorted((line for line in lines if not is_blank(line.text)), key=lambda line: len(line.text))
    for begin in range(0, len(ordered), _BATCH):
        batch = ordered[begin : begin + _BATCH]
        with torch.inference_mode():
            outputs = model.generate(
                **text.encode([line.text for line in batch]), num_beams=1, do_sample=False
            )
        # The last may be the end symbol that is one more than the longest output has.
        rows = [row[: SearchConfig().max_len_b + 1] for row in outputs.tolist()]
        found |= {line.id: text.decode(row) for line, row in zip(batch, rows, strict=True)}
        done(len(batch))
    return [found.get(line.id, "") for line in lines]


def _library() -> Any:
    """The library, kept from asking servers."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    library = import_module("transformers")
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    return library


class _OwnBatches:
    """The tokenizers of a checkpoint."""

    def __init__(self, text: OwnText) -> None:
        self._text = text
        self.decode = text.decode

    def encode(self, texts: list[str]) -> dict[str, Any]:
        """What the model reads, by name."""
        ids, mask = self._text.padded(texts)
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


class _FoldersText:
    """The tokenizer in a folder."""

    def __init__(self, library: Any, folder: Path) -> None:
        self._tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def encode(self, texts: list[str]) -> dict[str, Any]:
        """What the model reads, by name."""
        read = self._tokenizer(texts, return_tensors="pt", padding=True, truncation=True)
        return {name: read[name] for name in ("input_ids", "attention_mask")}

    def decode(self, ids: list[int]) -> str:
        """The text of an output."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text
