"""How a model reads a dataset: which columns, in which direction, and how long sentences may be."""

from __future__ import annotations

from s2scli.configs.train import TrainConfig
from s2scli.data.dataset import Dataset, ReadOptions
from s2scli.errors import UsageError


def read_options(config: TrainConfig, dataset: Dataset) -> ReadOptions:
    """How the model reads the dataset; UsageError where that has no sources and the model needs them."""
    if config.model.reads_source and "source" not in dataset.meta["columns"]:
        raise UsageError(
            f"{dataset.path}: the dataset has no source, which --arch {config.arch} reads; preprocess with one, or "
            "train a language model on it, as --arch transformer_lm, or make it with --denoise in place of "
            "--only-target, for --noise"
        )
    return ReadOptions(
        source=config.model.reads_source,
        right_to_left=config.right_to_left,
        copies=config.model.copies,
        longest=longest_of(config, dataset),
    )


def longest_of(config: TrainConfig, dataset: Dataset) -> dict[str, int]:
    """By side, the most tokens that a sentence may have, end symbol not counted; longer ones are cut.

    Frames are not cut: the rest of a recording would not say its target. UsageError where they are to be.
    """
    longest = {side: positions - 1 for side, positions in config.model.positions_of.items()}
    if dataset.features is not None:
        if config.max_source_length:
            raise UsageError(
                f"--max-source-length {config.max_source_length}: sources of frames are not cut; leave longer ones out "
                "by s2s preprocess --max-frames"
            )
        longest.pop("source", None)
    if config.max_source_length:
        longest["source"] = min(config.max_source_length, longest.get("source", config.max_source_length))
    return longest
