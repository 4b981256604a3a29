"""The hypotheses of a batch of sentences, which every search extends token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import known
from s2scli.models.base import Decodable, Memory, State
from s2scli.search.base import SentenceBatch
from s2scli.search.restrictions import Restrictions


@dataclass
class Hypotheses:
    """The hypotheses of a batch of B sentences, K each, with what the model keeps of them.

    sentences: the index of each sentence among all that are searched for. rules: which tokens may come next. tokens
    [B, K, length]: what each hypothesis has so far; hypotheses with fewer tokens than the longest of the batch begin
    with padding. memory: what the model keeps of the sentences; state: what it keeps of the hypotheses.
    """

    model: Decodable
    sentences: list[int]
    rules: Restrictions
    tokens: Tensor
    memory: Memory
    state: State

    @classmethod
    def begin(
        cls, model: Decodable, batch: SentenceBatch, config: SearchConfig, memory: Memory | None = None
    ) -> Hypotheses:
        """One empty hypothesis for each sentence; memory: the model's of the sources, where it is there already."""
        memory = memory or model.encode(batch.source)
        return cls(
            model=model,
            sentences=[*batch.sentences],
            rules=Restrictions(model, batch.source, config, batch.request),
            tokens=batch.source.lengths.new_empty(len(batch), 1, 0),
            memory=memory,
            state=model.start(memory),
        )

    def __len__(self) -> int:
        """The number of sentences, B."""
        return len(self.sentences)

    @property
    def longest_source(self) -> int:
        """The number of tokens of the longest source."""
        return int(self.rules.source_lengths.max())

    def score_next(self, kept: Tensor | None = None) -> Tensor:
        """The log-probabilities of each hypothesis' next token, [B, K, V], or [B, K, V + E] of a model that copies;
        -inf for forbidden tokens.

        Call it once before each `extend`; the caller may change the tensor. kept [B, K, any]: tokens that the
        no-repeat n-gram rule does not forbid.
        """
        output = self.model.step(self._last_tokens(), self.memory, self.state)
        self.state = output.state
        return self.rules.apply(output, self.tokens, kept)

    def _last_tokens(self) -> Tensor:
        """The newest token of each hypothesis [B, K] as the model reads it.

        It is the start symbol where there is none yet, and unknown where it was copied from beyond the vocabulary.
        """
        if self.tokens.size(2) == 0:
            return self.tokens.new_full(self.tokens.shape[:2], self.model.symbols.start)
        last = self.tokens[:, :, -1]
        if not self.model.copies:
            return last
        return known(last, self.model.target_size, self.model.symbols.unknown)

    def extend(self, newest: Tensor, parents: Tensor | None = None) -> None:
        """Replace the hypotheses by extensions of them, by tokens newest [B, new K].

        parents [B, new K]: which hypothesis each of these extends; by default each extends the one in its place. Where
        the host has chosen them, they are best in its memory.
        """
        if parents is not None:
            self.state = self.state.reorder(parents)
            parents = parents.to(self.tokens.device, non_blocking=True)
            self.tokens = self.tokens.gather(1, parents[:, :, None].expand(-1, -1, self.tokens.size(2)))
        self.tokens = torch.cat([self.tokens, newest[:, :, None]], dim=2)
        self.rules.advance()

    def select(self, rows: Sequence[int]) -> Tensor:
        """Go on with some of the sentences only, by their batch rows, which are returned as a tensor."""
        kept = torch.tensor(rows, dtype=torch.long)
        self.rules.select(kept)
        kept = kept.to(self.tokens.device, non_blocking=True)
        # What is padding in all of them.
        unused = self.tokens.size(2) - int(self.rules.lengths.max())
        self.sentences = [self.sentences[row] for row in rows]
        self.tokens = self.tokens[kept, :, unused:]
        self.memory, self.state = self.memory.select(kept), self.state.select(kept)
        return kept

    def join(self, other: Hypotheses) -> None:
        """Add the sentences of another batch in the rows after these. Both batches must have the same K, at least one
        token per hypothesis, and no excluded phrases.
        """
        length = max(self.tokens.size(2), other.tokens.size(2))
        padding = self.model.symbols.padding
        both = [
            F.pad(item, (length - item.size(2), 0), value=padding) for item in (self.tokens, other.tokens)
        ]
        self.tokens = torch.cat(both)
        self.sentences += other.sentences
        self.rules.join(other.rules)
        self.memory, self.state = self.memory.join(other.memory), self.state.join(other.state)
