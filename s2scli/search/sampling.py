"""Outputs drawn from the model's distribution, all of it or its more probable part."""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.data.sentences import Draws
from s2scli.models.base import Decodable
from s2scli.search.base import NO_SCORE, Search, SentenceBatch, worth_dropping
from s2scli.search.host import fetched
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
        longest, samples = self._hypotheses.rules.longest, range(config.nbest)
        # [B, samples, longest + 1]
        self._draws = _draws(config.seed, batch.request.lines, config.nbest, longest).to(batch.source.device)
        self._length = 0
        # Of each batch row and sample the tokens with their log-probabilities; None: it has ended.
        self._open: list[list[list[tuple[int, float]] | None]] = [
            [[] for _ in samples] for _ in range(len(batch))
        ]
        self._finished: dict[int, list[ScoredOutput]] = {sentence: [] for sentence in batch.sentences}
        self.num_open = len(batch)

    def step(self) -> None:
        """Draw a token more for each sample; sentences whose samples have all ended leave, some at a time."""
        log_p = self._hypotheses.score_next()  # [B, samples, V]
        parents = None
        if self._length == 0:
            # The first tokens are all drawn from one distribution.
            log_p = log_p.expand(-1, self._config.nbest, -1)
            parents = torch.zeros(log_p.shape[:2], dtype=torch.long)
        drawn = draw(truncate(log_p, self._config), self._draws[:, :, self._length])  # [B, samples]
        self._length += 1
        self._hypotheses.extend(drawn, parents)
        self._take(*fetched(drawn, log_p.gather(2, drawn[:, :, None])[..., 0]))
        open_rows = [
            row for row, samples in enumerate(self._open) if any(item is not None for item in samples)
        ]
        self.num_open = len(open_rows)
        if open_rows and worth_dropping(len(self._open) - len(open_rows), len(self._open)):
            self._draws = self._draws[self._hypotheses.select(open_rows)]
            self._open = [self._open[row] for row in open_rows]

    def _take(self, tokens: list[list[int]], scores: list[list[float]]) -> None:
        """Add the newest tokens of all samples, with their scores, to those; the ones that end are outputs."""
        for row, samples in enumerate(self._open):
            for sample, found in enumerate(samples):
                if found is None:
                    continue
                if not scores[row][sample] > NO_SCORE:
                    # Nothing may come, or the model's scores are no numbers: it is no output.
                    samples[sample] = None
                    continue
                found.append((tokens[row][sample], scores[row][sample]))
                if tokens[row][sample] == self._end:
                    samples[sample] = None
                    self._finish(row, found)

    def _finish(self, row: int, found: list[tuple[int, float]]) -> None:
        """Add a sample of a sentence that has ended to its outputs."""
        ids, scores = [token for token, _ in found], [score for _, score in found]
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
