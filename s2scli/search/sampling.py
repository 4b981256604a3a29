"""Outputs drawn from the model's distribution, all of it or its more probable part."""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.data.sentences import Draws
from s2scli.models.base import Decodable
from s2scli.search.base import Search, SentenceBatch, worth_dropping
from s2scli.search.hypotheses import Hypotheses
from s2scli.search.penalties import final_score
from s2scli.search.request import ScoredOutput


class SamplingSearch(Search):
    """A search that draws `nbest` outputs of each sentence.

    What is drawn for a sentence depends on the seed and its line only. Token scores are the model's log-probabilities
    at the temperature, whatever part of the distribution the tokens were drawn from.
    """

    def __init__(self, model: Decodable, batch: SentenceBatch, config: SearchConfig) -> None:
        self._config = config
        self._hypotheses = Hypotheses.begin(model, batch, config)
        self._end = model.symbols.end
        longest = self._hypotheses.rules.longest
        # [B, samples, longest + 1]
        self._draws = _draws(config.seed, batch.request.lines, config.nbest, longest).to(longest.device)
        self._token_scores = torch.empty(len(batch), config.nbest, 0, device=longest.device)
        self._ended = torch.zeros(len(batch), config.nbest, dtype=torch.bool, device=longest.device)
        self._finished: dict[int, list[ScoredOutput]] = {sentence: [] for sentence in batch.sentences}
        self.num_open = len(batch)

    def step(self) -> None:
        """Draw a token more for each sample; sentences whose samples have all ended leave, some at a time."""
        length = self._token_scores.size(2)
        log_p = self._hypotheses.score_next()  # [B, samples, V]
        parents = None
        if length == 0:
            # The first tokens are all drawn from one distribution.
            log_p = log_p.expand(-1, self._config.nbest, -1)
            parents = torch.zeros_like(self._ended, dtype=torch.long)
        drawn = draw(truncate(log_p, self._config), self._draws[:, :, length])  # [B, samples]
        self._hypotheses.extend(drawn, parents)
        self._token_scores = torch.cat([self._token_scores, log_p.gather(2, drawn[:, :, None])], dim=2)
        self._finish((drawn == self._end) & ~self._ended)
        self._ended |= drawn == self._end
        open_rows = (~self._ended.all(1)).nonzero()[:, 0].tolist()
        self.num_open = len(open_rows)
        if open_rows and worth_dropping(len(self._ended) - len(open_rows), len(self._ended)):
            kept = self._hypotheses.select(open_rows)
            self._draws, self._token_scores = self._draws[kept], self._token_scores[kept]
            self._ended = self._ended[kept]

    def _finish(self, has_ended: Tensor) -> None:
        """Add the samples that have just ended [B, samples] to the outputs."""
        for row, sample in has_ended.nonzero().tolist():
            ids = self._hypotheses.tokens[row, sample].tolist()
            scores = self._token_scores[row, sample].tolist()
            output = ScoredOutput(ids, scores, final_score(sum(scores), len(ids), self._config))
            self._finished[self._hypotheses.sentences[row]].append(output)

    def outputs(self) -> dict[int, list[ScoredOutput]]:
        """The samples of each sentence, by its number, the most probable first."""
        return {
            sentence: sorted(found, key=lambda item: -item.score)
            for sentence, found in self._finished.items()
        }


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
    columns = torch.searchsorted(sums, (uniform * sums[..., -1])[..., None], right=True)[..., 0]
    # A sum may be rounded below the number: then it is the last token that can come.
    last = (probabilities > 0).long().cumsum(-1).argmax(-1)
    return torch.minimum(columns, last)


def _draws(seed: int, lines: list[int], samples: int, longest: Tensor) -> Tensor:
    """A number in [0, 1) for each token of each sample, [B, samples, longest of all + 1]."""
    source = Draws(seed)
    drawn = torch.zeros(len(lines), samples, int(longest.max()) + 1, dtype=torch.double)
    for row, (line, length) in enumerate(zip(lines, longest.tolist(), strict=True)):
        for sample in range(samples):
            numbers = source.begin(sample, line, "output").random(length + 1)
            drawn[row, sample, : length + 1] = torch.from_numpy(numbers)
    return drawn
