"""Greedy search: the most probable token, step after step."""

from __future__ import annotations

import torch

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.models.base import Decodable
from s2scli.search.base import Output, Request, worth_dropping
from s2scli.search.penalties import final_score
from s2scli.search.restrictions import Restrictions
from s2scli.text.vocabulary import EOS


def greedy_search(
    model: Decodable, source: Tokens, config: SearchConfig, request: Request
) -> list[list[Output]]:
    """One output for each source sentence; sentences that have ended leave the batch, some at a time."""
    memory = model.encode(source)
    state = model.start(memory)
    rules = Restrictions(model, source, config, request.prefixes or [request.prefix])
    rows = torch.arange(source.ids.size(0), device=source.ids.device)
    tokens = rows.new_full((len(rows), 1), EOS)
    history = rows.new_empty(len(rows), 1, 0)
    ended = torch.zeros_like(rows, dtype=torch.bool)
    ids: list[list[int]] = [[] for _ in range(len(rows))]
    scores: list[list[float]] = [[] for _ in range(len(rows))]
    while True:
        output = model.step(tokens, memory, state)
        state = output.state
        ranked, normalizer = rules.apply(output, history)
        best, tokens = ranked.max(-1)  # [B, 1]
        history = torch.cat([history, tokens[:, :, None]], dim=2)
        open_rows = zip(
            rows[~ended].tolist(),
            tokens[~ended, 0].tolist(),
            (best - normalizer)[~ended, 0].tolist(),
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
            rules.select(going_on)
            rows, tokens, history, ended = (item[going_on] for item in (rows, tokens, history, ended))
    return [
        [Output(row, row_scores, final_score(sum(row_scores), len(row), config))]
        for row, row_scores in zip(ids, scores, strict=True)
    ]
