"""Outputs drawn from the model's distribution, all of it or its more probable part."""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.data.sentences import Draws
from s2scli.models.base import Decodable
from s2scli.search.base import last_tokens, worth_dropping
from s2scli.search.penalties import final_score
from s2scli.search.queue import SentenceBatch, by_batches
from s2scli.search.request import ScoredOutput
from s2scli.search.restrictions import Restrictions
from s2scli.text.vocabulary import EOS


@by_batches
def sampling_search(model: Decodable, group: SentenceBatch, config: SearchConfig) -> list[list[ScoredOutput]]:
    """`nbest` samples of each source sentence, the most probable first.

    What is drawn for a sentence depends on the seed and its line only. Token scores are the model's log-probabilities
    at the temperature, whatever part of the distribution the tokens were drawn from.
    """
    source = group.source
    device, size, samples = source.ids.device, len(group.rows), config.nbest
    memory = model.encode(source)
    state = model.start(memory)
    rules = Restrictions(model, source, config, group.request)
    draws = _draws(config.seed, group.request.lines, samples, rules.longest).to(device)
    rows = torch.arange(size, device=device)
    tokens = rows.new_empty(size, 1, 0)
    token_scores = torch.empty(size, 1, 0, device=device)
    finished: list[list[ScoredOutput]] = [[] for _ in range(size)]
    ended = torch.zeros(size, samples, dtype=torch.bool, device=device)
    while True:
        length = tokens.size(2)
        output = model.step(last_tokens(tokens, model), memory, state)
        state = output.state
        scores, normalizer = rules.apply(output, tokens)
        if length == 0:
            # The first tokens are all drawn from one distribution.
            beams = torch.zeros(size, samples, dtype=torch.long, device=device)
            state = state.reorder(beams)
            scores, normalizer = scores.expand(-1, samples, -1), normalizer.expand(-1, samples)
            tokens, token_scores = (item.expand(-1, samples, -1) for item in (tokens, token_scores))
        columns = draw(truncate(scores, config), draws[rows, :, length])
        gained = scores.gather(2, columns[:, :, None]) - normalizer[:, :, None]
        drawn = output.tokens_at(columns)
        rules.advance()
        tokens = torch.cat([tokens, drawn[:, :, None]], dim=2)
        token_scores = torch.cat([token_scores, gained], dim=2)
        for sentence, sample in ((drawn == EOS) & ~ended).nonzero().tolist():
            ids, gains = tokens[sentence, sample].tolist(), token_scores[sentence, sample].tolist()
            finished[int(rows[sentence])].append(
                ScoredOutput(ids, gains, final_score(sum(gains), len(ids), config))
            )
        ended |= drawn == EOS
        going_on = (~ended.all(1)).nonzero()[:, 0]
        if not len(going_on):
            return [sorted(outputs, key=lambda item: -item.score) for outputs in finished]
        if worth_dropping(len(rows) - len(going_on), len(rows)):
            memory, state = memory.select(going_on), state.select(going_on)
            rules.select(going_on)
            rows, tokens, token_scores, ended = (
                item[going_on] for item in (rows, tokens, token_scores, ended)
            )


def truncate(scores: Tensor, config: SearchConfig) -> Tensor:
    """The probabilities [B, K, V] to draw from, not normalized, by the scores.

    What is left out has none: all but the top_k most probable (Fan et al. 2018); all but the fewest that have top_p of
    the probability (Holtzman et al. 2020), or the fewest of typical information that have typical_p (Meister et al.
    2023, section 4); what has less than min_p of the most probable one's (Nguyen et al. 2024). Each looks at what the
    one before has left.
    """
    probabilities = scores.softmax(-1)
    if config.top_k:
        least = probabilities.topk(min(config.top_k, probabilities.size(-1))).values[..., -1:]
        probabilities = _kept(probabilities, probabilities >= least)
    if config.top_p < 1:
        probabilities = _fewest(probabilities, -probabilities, config.top_p)
    if config.typical_p < 1:
        information = -probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
        entropy = (probabilities * information).sum(-1, keepdim=True)
        probabilities = _fewest(probabilities, (information - entropy).abs(), config.typical_p)
    if config.min_p:
        probabilities = _kept(
            probabilities, probabilities >= config.min_p * probabilities.amax(-1, keepdim=True)
        )
    return probabilities


def _kept(probabilities: Tensor, kept: Tensor) -> Tensor:
    probabilities = probabilities * kept
    return probabilities / probabilities.sum(-1, keepdim=True)


def _fewest(probabilities: Tensor, order: Tensor, mass: float) -> Tensor:
    """Only the first tokens by an order, ascending, that have at least so much of the probability together."""
    ranking = order.masked_fill(probabilities == 0, float("inf")).argsort(dim=-1, stable=True)
    ranked = probabilities.gather(-1, ranking)
    # One is kept as long as those before it have not enough; the first always.
    kept = ranked.cumsum(-1) - ranked < mass
    return _kept(probabilities, torch.zeros_like(kept).scatter(-1, ranking, kept))


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Tokens [B, K] of the distributions [B, K, V] by numbers in [0, 1), [B, K]: the inverse of the sums."""
    sums = probabilities.double().cumsum(-1)
    places = torch.searchsorted(sums, (uniform * sums[..., -1])[..., None], right=True)[..., 0]
    # A sum may be rounded below the number: then it is the last token that can come.
    last = (probabilities > 0).long().cumsum(-1).argmax(-1)
    return torch.minimum(places, last)


def _draws(seed: int, lines: list[int], samples: int, longest: Tensor) -> Tensor:
    """A number in [0, 1) for each token of each sample, [B, samples, longest of all + 1]."""
    source = Draws(seed)
    drawn = torch.zeros(len(lines), samples, int(longest.max()) + 1, dtype=torch.double)
    for row, (line, length) in enumerate(zip(lines, longest.tolist(), strict=True)):
        for sample in range(samples):
            numbers = source.begin(sample, line, "output").random(length + 1)
            drawn[row, sample, : length + 1] = torch.from_numpy(numbers)
    return drawn
