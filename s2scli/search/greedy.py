"""Greedy search: the most probable token, step after step."""

from __future__ import annotations

import torch

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.models.base import Model
from s2scli.search.base import Output, longest_outputs, restrict
from s2scli.text.vocabulary import EOS


def greedy_search(model: Model, source: Tokens, config: SearchConfig) -> list[list[Output]]:
    """One output for each source sentence; sentences that have ended leave the batch."""
    memory = model.encode(source)
    state = model.start(memory)
    longest = longest_outputs(source, config)
    alive = torch.arange(source.ids.size(0), device=source.ids.device)
    tokens = alive.new_full((len(alive), 1), EOS)
    ids: list[list[int]] = [[] for _ in range(len(alive))]
    scores: list[list[float]] = [[] for _ in range(len(alive))]
    length = 0
    while True:
        output = model.step(tokens, memory, state)
        state = output.state
        restrict(output.scores, length, longest, config.min_len)
        best, tokens = output.scores.max(-1)  # [B, 1]
        steps = zip(
            alive.tolist(), tokens[:, 0].tolist(), (best - output.log_normalizer)[:, 0].tolist(), strict=True
        )
        for row, token, score in steps:
            ids[row].append(token)
            scores[row].append(score)
        going_on = (tokens[:, 0] != EOS).nonzero()[:, 0]
        if not len(going_on):
            break
        if len(going_on) < len(alive):
            memory, state = memory.select(going_on), state.select(going_on)
            alive, tokens, longest = alive[going_on], tokens[going_on], longest[going_on]
        length += 1
    return [
        [Output(row, row_scores, sum(row_scores) / len(row) ** config.lenpen)]
        for row, row_scores in zip(ids, scores, strict=True)
    ]
