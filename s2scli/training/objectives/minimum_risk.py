"""Minimum risk training (Shen et al. 2016): make outputs probable as far as a metric finds them good."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.configs.objectives import MinimumRiskConfig
from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch, Tokens, decoder_input, pad_outputs
from s2scli.errors import UsageError
from s2scli.metrics.base import utility_metric
from s2scli.models.base import Model
from s2scli.nn.copying import Hidden
from s2scli.nn.kernels.chunked import chunk_rows
from s2scli.nn.losses import weighted_cross_entropy
from s2scli.search.decoding import search
from s2scli.search.request import Request
from s2scli.text.tokenizer import Tokenizer
from s2scli.training.distributed import gathered
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy

# The longest candidate, in tokens, is so many times its source, and so many more.
_MAX_LEN_A, _MAX_LEN_B = 2.0, 10


class MinimumRisk(LabelSmoothedCrossEntropy):
    """w · Σ over sentences of R + (1 - w) · L_CE, with R = Σ over candidates y of Q(y) · Δ(y, reference).

    Q(y) = p(y)^α / Σ over candidates y' of p(y')^α (Shen et al. 2016, equations 7 and 8). The candidates are the
    different ones among outputs that are drawn from the model as it is, without dropout, and the reference.
    Δ = 1 - U / 100, U being the texts' `Metric.utility`. The candidates' probabilities have dropout, one mask for a
    source. A sentence counts once, however long it is; the update divides the sum by the number of reference tokens, as
    ever.
    """

    def __init__(self, config: MinimumRiskConfig, model: Model) -> None:
        super().__init__(config, model)
        self.weight = config.risk_weight
        self.alpha = config.risk_alpha
        self.has_reference = config.risk_reference
        self.metric = utility_metric(config.risk_metric, "--risk-metric")
        self.search = SearchConfig(
            sampling=True, nbest=config.risk_samples, max_len_a=_MAX_LEN_A, max_len_b=_MAX_LEN_B
        )
        self.tokenizer: Tokenizer | None = None
        self.right_to_left = False

    def use_tokenizers(self, tokenizers: Mapping[str, Tokenizer], data: Path, *, right_to_left: bool) -> None:
        """Take what makes text of outputs; UsageError where there is no source to make them of."""
        if not self.model.reads_source:
            raise UsageError(
                f"--criterion minimum_risk: {data} is for a language model, which has no source to make outputs of"
            )
        self.tokenizer, self.right_to_left = tokenizers["target"], right_to_left

    def decoder_loss(self, hidden: Hidden, targets: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum of the mixed losses, and of the reference's negative log-likelihood."""
        with torch.set_grad_enabled(self.weight < 1):
            loss, nll = super().decoder_loss(hidden, targets, batch)
        return (1 - self.weight) * loss + self.weight * self.risk(batch, self.candidates(batch)), nll

    def candidates(self, batch: Batch) -> list[list[list[int]]]:
        """For each sentence its different candidates, ids without end symbol, the reference first if it is one.

        What is drawn for a pair depends on the seed that the micro-batch began with and the pair, not on its place.
        """
        references, sources = _rows(batch.target), _rows(batch.source.tokens("--criterion minimum_risk"))
        lines = [zlib.crc32(repr(pair).encode()) for pair in zip(sources, references, strict=True)]
        was_training = self.model.training
        self.model.eval()
        try:
            # In full precision, as they will be searched for; autocast would keep casts without a gradient, too.
            with gathered(self.model), torch.autocast(batch.source.device.type, enabled=False):
                outputs = search(
                    self.model, batch.source, replace(self.search, seed=torch.initial_seed()), Request(lines)
                )
        finally:
            self.model.train(was_training)
        found, end = [], self.model.symbols.end
        for reference, samples in zip(references, outputs, strict=True):
            ids = [[token for token in output.ids if token != end] for output in samples]
            unique = dict.fromkeys(map(tuple, [reference, *ids] if self.has_reference else ids))
            found.append([list(candidate) for candidate in unique])
        return found

    def risk(self, batch: Batch, candidates: list[list[list[int]]]) -> Tensor:
        """The sum of R over the sentences of a batch.

        dR / d log p(y) = α · Q(y) · (Δ(y) - R): with these as weights the gradient is that of a weighted cross-entropy,
        whose logits need not all be there at once.
        """
        device = batch.source.device
        rows = [row for row, found in enumerate(candidates) for _ in found]
        places = [place for found in candidates for place in range(len(found))]
        found = [ids for of_sentence in candidates for ids in of_sentence]
        targets = pad_outputs(found, self.model.target_size, self.model.symbols).to(device)
        sentences, columns = (torch.tensor(item, device=device) for item in (rows, places))
        memory = self.model.encode(batch.source).select(sentences)
        mask = targets.mask
        hidden = self.model.decode(memory, decoder_input(targets, self.model.symbols.start))[mask]
        tokens = targets.predicted[mask]
        owner = torch.arange(len(rows), device=device)[:, None].expand(mask.shape)[mask]
        with torch.no_grad():
            token_scores = self._log_probabilities(hidden, tokens)
            totals = torch.zeros(len(rows), device=device).index_add_(0, owner, token_scores)
            log_p = totals.new_full((len(candidates), int(columns.max()) + 1), float("-inf"))
            log_p[sentences, columns] = totals
            q = (self.alpha * log_p).softmax(-1)[sentences, columns]
            delta = torch.tensor(self.distances(batch, candidates), device=device)
            risks = torch.zeros(len(candidates), device=device).index_add_(0, sentences, q * delta)
            slopes = self.alpha * q * (delta - risks[sentences])
        # Its gradient alone is of use.
        surrogate = weighted_cross_entropy(self.model.output, hidden, tokens, -slopes[owner])
        return risks.sum() + surrogate - surrogate.detach()

    def _log_probabilities(self, hidden: Hidden, tokens: Tensor) -> Tensor:
        """Of each token [N] after its hidden state [N, D]."""
        size = chunk_rows(self.model.target_size)
        with torch.autocast(tokens.device.type, enabled=False):
            return torch.cat(
                [
                    -F.cross_entropy(self.model.output(part.float()), wanted, reduction="none")
                    for part, wanted in zip(hidden.split(size), tokens.split(size), strict=True)
                ]
            )

    def distances(self, batch: Batch, candidates: list[list[list[int]]]) -> list[float]:
        """Δ of each candidate of each sentence, from 0 for the reference's own text to 1."""
        found: list[float] = []
        for reference, ids in zip(_rows(batch.target), candidates, strict=True):
            wanted = self._text(reference)
            texts = [self._text(candidate) for candidate in ids]
            found += [1 - self.metric.utility(text, [wanted]) / 100 for text in texts]
        return found

    def _text(self, ids: list[int]) -> str:
        assert self.tokenizer is not None
        # What is copied from beyond the vocabulary is a word of its own, whichever it is.
        size = self.model.target_size
        tokenizer = self.tokenizer.with_words([f"<{n}>" for n in range(max(ids, default=0) + 1 - size)])
        return tokenizer.decode(ids[::-1] if self.right_to_left else ids)


def _rows(tokens: Tokens | None) -> list[list[int]]:
    """The sequences without their end symbols."""
    assert tokens is not None
    pairs = zip(tokens.predicted.tolist(), tokens.lengths.tolist(), strict=True)
    return [ids[: length - 1] for ids, length in pairs]
