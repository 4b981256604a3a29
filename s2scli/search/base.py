"""What the searches share: the result, the limits on its length and what may come next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.models.base import Model
from s2scli.search import SEARCHES
from s2scli.text.vocabulary import BOS, EOS, PAD


@dataclass(frozen=True)
class Output:
    """A finished hypothesis.

    ids and token_scores: its tokens with the end symbol, and the log-probability (base e) of each.
    score: their sum divided by length^α.
    """

    ids: list[int]
    token_scores: list[float]
    score: float


def search(model: Model, source: Tokens, config: SearchConfig) -> list[list[Output]]:
    """The best outputs, at most `nbest`, of each source sentence, best first."""
    name = "greedy" if config.beam == 1 else "beam"
    with torch.inference_mode():
        outputs: list[list[Output]] = SEARCHES[name](model, source, config)
    return outputs


def longest_outputs(model: Model, source: Tokens, config: SearchConfig) -> Tensor:
    """The longest output [B] of each source in tokens, its end symbol not counted.

    As in fairseq it is max_len_a · source length + max_len_b with the source's end symbol counted, or what the
    model has positions for; each sentence has its own, whatever it is batched with.
    """
    longest = (config.max_len_a * source.lengths).long() + config.max_len_b
    return (
        longest if model.max_target_positions is None else longest.clamp(max=model.max_target_positions - 1)
    )


def worth_dropping(done: int, total: int) -> bool:
    """Whether so many sentences are done that taking them out of the batch pays for copying the others."""
    return done >= max(1, total // 8)


def restrict(log_probs: Tensor, length: int, longest: Tensor, min_len: int) -> None:
    """Make what may not come next impossible, in place: log_probs [B, K, V] of token number `length` (from 0).

    Padding and the unused start symbol never come; the end symbol not before min_len tokens;
    and nothing but the end symbol after the longest [B] outputs.
    """
    log_probs[..., PAD] = float("-inf")
    log_probs[..., BOS] = float("-inf")
    full = longest <= length
    if length < min_len:
        log_probs[~full, :, EOS] = float("-inf")
    if bool(full.any()):
        ending = log_probs[full][..., EOS].clone()
        log_probs[full] = float("-inf")
        log_probs[full, :, EOS] = ending
