"""Greedy search: the most probable token, step after step."""

from __future__ import annotations

import torch

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.models.base import Model
from s2scli.search.base import Output, longest_outputs, restrict, worth_dropping
from s2scli.text.vocabulary import EOS


def greedy_search(model: Model, source: Tokens, config: SearchConfig) -> list[list[Output]]:
    """One output for each source sentence; sentences that have ended leave the batch, some at a time."""
    memory = model.encode(source)
    state = model.start(memory)
    longest = longest_outputs(model, source, config)
    rows = torch.arange(source.ids.size(0), device=source.ids.device)
    tokens = rows.new_full((len(rows), 1), EOS)
    ended = torch.zeros_like(rows, dtype=torch.bool)
    ids: list[list[int]] = [[] for _ in range(len(rows))]
    scores: list[list[float]] = [[] for _ in range(len(rows))]
    length = 0
    while True:
        output = model.step(tokens, memory, state)
        state = output.state
        restrict(output.scores, length, longest, config.min_len)
        best, tokens = output.scores.max(-1)  # [B, 1]
        open_rows = zip(
            rows[~ended].tolist(),
            tokens[~ended, 0].tolist(),
            (best - output.log_normalizer)[~ended, 0].tolist(),
            strict=True,
        )
        for row, token, score in open_rows:
            ids[row].append(token)
            scores[row].append(score)
        ended |= tokens[:, 0] == EOS
        going_on = (~ended).nonzero()[:, 0]
        if not len(going_on):
            break
        if worth_dropping(len(rows) - len(going_on), len(rows)):
            memory, state = memory.select(going_on), state.select(going_on)
            rows, tokens, longest, ended = (item[going_on] for item in (rows, tokens, longest, ended))
        length += 1
    return [
        [Output(row, row_scores, sum(row_scores) / len(row) ** config.lenpen)]
        for row, row_scores in zip(ids, scores, strict=True)
    ]
