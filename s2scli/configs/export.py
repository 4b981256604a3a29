"""Settings of `s2s export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.components import EXPORT_TARGETS
from s2scli.configs.command import CommandConfig
from s2scli.schema import setting

QUANTIZATIONS = (
    "float32",
    "float16",
    "bfloat16",
    "int16",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
)


@dataclass(frozen=True, kw_only=True)
class ExportConfig(CommandConfig):
    """Which checkpoint to write in another toolkit's format, and how."""

    path: Path = setting(
        ..., "checkpoint, or run folder (then its best checkpoint)", argument=True, common=True
    )
    to: str = setting(..., "the toolkit", choices=EXPORT_TARGETS, common=True)
    out: Path = setting(
        ..., "folder to write; s2s generate --path reads that for ctranslate2 too", common=True
    )
    base: Path | None = setting(
        None,
        "for peft, the folder of transformers that the adapter's model was imported from",
        needs="to=peft",
    )
    overwrite: bool = setting(False, "replace a folder that s2s export has written before")
    quantization: str = setting(
        "float32",
        "type of the weights, and where it has a second name of all else; CTranslate2 computes in it by default; for "
        "transformers float32, float16 or bfloat16; for onnx and fairseq float32",
        choices=QUANTIZATIONS,
        common=True,
    )
    shortlist: int = setting(
        0,
        "write shortlists too, of so many likely translations of each source token, and frequent tokens, for s2s "
        "generate --shortlist; from the table that s2s preprocess --shortlist has learnt; 0: none",
        at_least=0,
        at_most=10_000,
    )
    shortlist_frequent: int = setting(
        500,
        "with --shortlist, so many of the most frequent tokens are in every list",
        at_least=0,
        needs="shortlist",
    )
    max_positions: int = setting(
        1024,
        "positions of sources and outputs to write, where they are a formula that has no end; never fewer than the "
        "longest lines of training need; ONNX files have the formula itself",
        unit="tokens",
        at_least=2,
        at_most=1_000_000,
    )
    input: Path | None = setting(
        None,
        "text file whose first lines are translated by the checkpoint and by what was written, to compare; if not "
        "given, the validation lines of the dataset that the model was trained on, where they are still there",
    )
    compare_lines: int = setting(
        100, "how many lines to translate for that; 0: none", at_least=0, at_most=1_000_000
    )
