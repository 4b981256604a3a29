"""A checkpoint, described from its header and tokenizers: no weight is read, and no torch needed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.checkpoint_file import BEST, LAST, epoch_checkpoints, open_checkpoint
from s2scli.data.tokenizers import read_tokenizers
from s2scli.inspection.vocabulary import (
    OverlapReport,
    VocabularyReport,
    describe_overlap,
    describe_vocabulary,
)

SECTIONS = ("model", "optimizer", "lr_scheduler", "objective")
# Bits of a number, by safetensors' names of the types.
_BITS = {"F8_E4M3": 8, "F8_E5M2": 8, "I8": 8, "U8": 8, "BOOL": 8, "F16": 16, "BF16": 16, "I16": 16, "U16": 16}
_BITS |= {"F32": 32, "I32": 32, "U32": 32, "F64": 64, "I64": 64, "U64": 64}


@dataclass(frozen=True, kw_only=True)
class CheckpointReport:
    """What a checkpoint holds.

    num_parameters: the model's; a weight that two modules share counts once. modules: parameters by top-level module.
    dtypes: parameters by their type. run: where the run stood: epoch, update, best … resumable: whether training can
    go on from this file. config: the training settings, with sections model, optimizer, lr_scheduler and objective.
    dataset: languages, limits and fingerprints of what it was trained on. bytes: size of the file; bytes_by_group: of
    model, tokenizer, shortlist, optimizer, ema, objective and ewc. others: where a run folder was given, the sizes of
    its other checkpoints by name. base: where it holds an adapter alone, the fingerprint of the model that it is for.
    """

    kind: str = "checkpoint"
    version: int = 1
    path: str
    arch: str
    source_lang: str
    target_lang: str
    num_parameters: int
    modules: dict[str, int]
    dtypes: dict[str, int]
    vocabularies: dict[str, VocabularyReport]
    overlap: OverlapReport | None
    run: dict[str, Any]
    resumable: bool
    config: dict[str, Any]
    dataset: dict[str, Any]
    bytes: int
    bytes_by_group: dict[str, int]
    others: dict[str, int]
    base: str = ""


def inspect_checkpoint(path: Path, *, folder: Path | None = None) -> CheckpointReport:
    """Describe a checkpoint file; folder: the run folder that it was chosen from, if it was.

    Raises CheckpointError for a file that is no checkpoint, is cut short or is of a newer format.
    """
    modules: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    with open_checkpoint(path) as (stream, header):
        for full_name in stream.keys():  # noqa: SIM118 (not a dict)
            group, _, name = full_name.partition(".")
            tensor = stream.get_slice(full_name)
            number, dtype = math.prod(tensor.get_shape()), tensor.get_dtype()
            groups[group] += number * _BITS.get(dtype, 0) // 8
            if group == "model":
                modules[name.partition(".")[0]] += number
                dtypes[_spell(dtype)] += number
        tokenizers = {} if header["base"] else read_tokenizers(stream, header)
    config, dataset = header["config"], header["dataset"]
    return CheckpointReport(
        path=str(path),
        arch=config["arch"],
        source_lang=dataset["source_lang"],
        target_lang=dataset["target_lang"],
        num_parameters=modules.total(),
        modules=dict(modules),
        dtypes=dict(dtypes),
        vocabularies={side: describe_vocabulary(tokenizer) for side, tokenizer in tokenizers.items()},
        overlap=describe_overlap(tokenizers) if len(tokenizers) > 1 else None,
        run=header["run"],
        resumable=header["resumable"],
        config=config,
        dataset=dataset,
        bytes=path.stat().st_size,
        bytes_by_group=dict(groups),
        others=_others(path, folder) if folder else {},
        base=header["base"],
    )


def _spell(dtype: str) -> str:
    """The usual name of a type: float32 of F32."""
    names = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
    return names.get(dtype, dtype.lower())


def _others(path: Path, folder: Path) -> dict[str, int]:
    files = [folder / BEST, folder / LAST, *epoch_checkpoints(folder).values()]
    return {file.name: file.stat().st_size for file in files if file != path and file.is_file()}
