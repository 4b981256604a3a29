"""What outputs attend to in their sources, by reading them once more as given targets."""

from __future__ import annotations

from dataclasses import replace

import torch

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch, Source, pad_outputs
from s2scli.models.base import Decodable
from s2scli.search.queue import SentenceQueue
from s2scli.search.request import BatchLimits, Request, ScoredOutput


def with_attention(
    model: Decodable,
    source: Source,
    outputs: list[list[ScoredOutput]],
    config: SearchConfig,
    limits: BatchLimits,
) -> list[list[ScoredOutput]]:
    """The outputs of each source sentence with what they attend to; limits: of the sentences read at a time."""
    if all(item.attention is not None for items in outputs for item in items):
        return outputs
    found: list[list[ScoredOutput]] = []
    queue = SentenceQueue(source, Request([]), limits)
    while batch := queue.take():
        found += _attended(model, batch.source, [outputs[number] for number in batch.sentences], config)
    return found


def _attended(
    model: Decodable, source: Source, outputs: list[list[ScoredOutput]], config: SearchConfig
) -> list[list[ScoredOutput]]:
    """The outputs of a batch with what they attend to, by a forced pass for the n-th outputs of all its sentences."""
    found: list[list[ScoredOutput]] = [[] for _ in outputs]
    for rank in range(max(map(len, outputs))):
        rows = [row for row, items in enumerate(outputs) if rank < len(items)]
        items = [outputs[row][rank] for row in rows]
        ids = [item.ids[:-1] for item in items]
        target = pad_outputs(ids, model.target_size, model.symbols).to(source.device)
        with torch.inference_mode():
            chosen = source.select(rows)
            weights = model.attention(Batch(chosen, target), config.alignment_layer).cpu()
            lengths = model.encoded_lengths(chosen).tolist()
        for row, item, own, length in zip(rows, items, weights, lengths, strict=True):
            inside = own[: len(item.ids), :length]
            found[row].append(replace(item, attention=inside.clone().numpy()))
    return found
