"""Joining the parts of a dataset that several commands have made, each from its share of the training text."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from s2scli.data.dataset_writer import write_dataset
from s2scli.data.folder import tokenizer_of
from s2scli.data.layout import ColumnLayout
from s2scli.data.learning import with_counts
from s2scli.data.lexical import learn_shortlist
from s2scli.data.meta import check_files, read_meta
from s2scli.data.shard_writer import count_tokens
from s2scli.data.split import Split
from s2scli.errors import DataError
from s2scli.features.form import FeatureForm
from s2scli.features.statistics import Statistics
from s2scli.io import explain_write_errors
from s2scli.text.tokenizer import Tokenizer


def part_folder(destdir: Path, part: int, parts: int) -> Path:
    """Where a part of a dataset goes: data.part-0-of-8 beside data."""
    return destdir.with_name(f"{destdir.name}.part-{part}-of-{parts}")


def merge_parts(destdir: Path, *, overwrite: bool) -> dict[str, Any]:
    """Make a dataset of its parts, which are removed then; returns what its meta.json says.

    Raises DataError where there are no parts, one is missing or unfinished, or they were not made alike.
    """
    folders = _find_parts(destdir)
    metas = [_read_part(folder) for folder in folders]
    for folder, meta in zip(folders, metas, strict=True):
        for name in ("settings", "tokenizers", "columns"):
            if meta[name] != metas[0][name]:
                raise DataError(
                    f"{folder}: was made with other {name} than {folders[0].name}; run both with the same command "
                    "but for --shard-id"
                )
    with write_dataset(destdir, "", overwrite=overwrite) as writer:
        splits = {}
        for split in metas[0]["splits"]:
            found = [(folder, meta["splits"][split]) for folder, meta in zip(folders, metas, strict=True)]
            splits[split] = _join(found, writer.folder, split)
        tokenizers = {side: tokenizer_of(folders[0], side) for side in metas[0]["tokenizers"]}
        settings = metas[0]["settings"]
        learnt = {
            side: tokenizer
            for side, tokenizer in tokenizers.items()
            if settings["tokenizer"] == "sentencepiece"
            and not {"vocab_from", f"{side}_vocab_from"} & settings.keys()
        }
        if learnt and "train" in splits:
            tokenizers |= _counted(learnt, splits["train"], writer.folder, settings)
        for side, tokenizer in tokenizers.items():
            writer.write_tokenizer(side, tokenizer)
        own = ("part", "statistics")
        meta = {name: value for name, value in metas[0].items() if name not in own} | {"splits": splits}
        _add_statistics(meta["columns"], [found["statistics"] for found in metas if "statistics" in found])
        for side, tokenizer in tokenizers.items():
            meta["tokenizers"][side]["fingerprint"] = tokenizer.fingerprint
        if number := settings.get("shortlist"):
            sizes = {side: len(tokenizer) for side, tokenizer in tokenizers.items()}
            train = Split(writer.folder, "train", meta)
            meta["shortlist"] = writer.write_shortlist(learn_shortlist(train, sizes, number))
        writer.write_meta(meta)
    for folder in folders:
        shutil.rmtree(folder)
    return meta


def _add_statistics(columns: Mapping[str, dict[str, Any]], parts: Sequence[Any]) -> None:
    """Put the statistics of all parts' training data into what is said of the column of features, if there is one."""
    for column in columns.values():
        if "features" in column:
            total = reduce(add, map(Statistics.from_json, parts))
            form = FeatureForm(**{**column["features"], "mean": (), "deviation": ()})
            column["features"] = form.with_statistics(total).to_meta()


def _find_parts(destdir: Path) -> list[Path]:
    """The folders of all parts, in order."""
    pattern = re.compile(re.escape(destdir.name) + r"\.part-(\d+)-of-(\d+)")
    beside = destdir.resolve().parent
    names = [pattern.fullmatch(entry.name) for entry in beside.iterdir()] if beside.is_dir() else []
    found = {(int(name[2]), int(name[1])) for name in names if name}
    if not found:
        raise DataError(
            f"--merge: there is no {destdir}.part-…; s2s preprocess --num-shards N --shard-id I makes one"
        )
    numbers = {parts for parts, _ in found}
    if len(numbers) > 1:
        raise DataError(
            f"--merge: {destdir} has parts of {' and of '.join(map(str, sorted(numbers)))}; remove those that are not "
            "wanted"
        )
    parts = numbers.pop()
    missing = [str(part) for part in range(parts) if (parts, part) not in found]
    if missing:
        raise DataError(
            f"--merge: of {parts} parts of {destdir} these are missing: {', '.join(missing)}; run s2s preprocess "
            f"--num-shards {parts} with --shard-id {missing[0]}"
        )
    return [part_folder(destdir, part, parts) for part in range(parts)]


def _read_part(folder: Path) -> dict[str, Any]:
    meta = read_meta(folder)
    if meta is None or "part" not in meta:
        raise DataError(f"{folder}: is no part of a dataset; run the command again that should have made it")
    check_files(folder, meta)
    return meta


def _join(parts: Sequence[tuple[Path, Mapping[str, Any]]], folder: Path, split: str) -> dict[str, Any]:
    """Link the shards of a split into a folder; returns what meta.json says of it."""
    corpora: dict[str, list[dict[str, Any]]] = {}
    for part, meta in parts:
        for corpus in meta["corpora"]:
            shards = corpora.setdefault(corpus["name"], [])
            for shard in corpus["shards"]:
                path = f"{split}/{corpus['name']}-{len(shards):05}"
                with explain_write_errors(folder / path):
                    (folder / path).mkdir(parents=True)
                    for name in shard["files"]:
                        _link(part / shard["path"] / name, folder / path / name)
                shards.append({**shard, "path": path})
    metas = [meta for _, meta in parts]
    counts = ("num_tokens", "num_unknown", "dropped", "truncated", "truncated_tokens", "sources")
    return {
        "num_examples": sum(meta["num_examples"] for meta in metas),
        **{name: _sum([meta.get(name, {}) for meta in metas]) for name in counts},
        "corpora": [{"name": name, "shards": shards} for name, shards in corpora.items()],
    }


def _sum(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for item in counts:
        total.update(item)
    return dict(sorted(total.items()))


def _link(source: Path, target: Path) -> None:
    """Make a file appear under a second name: the first goes only when all is done."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _counted(
    tokenizers: Mapping[str, Tokenizer], train: Mapping[str, Any], folder: Path, settings: Mapping[str, Any]
) -> dict[str, Tokenizer]:
    """The tokenizers with the number of times each symbol is in the whole training split."""
    counts = {side: np.zeros(len(tokenizer), np.int64) for side, tokenizer in tokenizers.items()}
    for shard in (shard for corpus in train["corpora"] for shard in corpus["shards"]):
        for side, total in counts.items():
            dtype = ColumnLayout.of_ids(len(total)).dtype
            count_tokens(folder / shard["path"] / f"{side}.ids", dtype, total)
    return with_counts(tokenizers, counts, joined=settings["joined_dictionary"])
