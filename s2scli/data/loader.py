"""Reading the batches of training data, with what is drawn anew for each sentence in each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2scli.configs.sampling import DEFAULT_ALPHA, DEFAULT_BPE_DROPOUT, SamplingConfig
from s2scli.data.batch import Batch, pad_sequences
from s2scli.data.batching import load_batch
from s2scli.data.dataset import Indices, Split
from s2scli.data.noise import WordNoise
from s2scli.errors import UsageError
from s2scli.text.subword_sampling import SubwordSampling, word_starts
from s2scli.text.tokenizer import Tokenizer

# What is drawn for: numbers that are never given away again, lest a resumed run draws otherwise.
_PURPOSES = {"source": 1, "target": 2, "noise": 3}
# Numbers drawn at once.
_CHUNK = 128


class Draws:
    """Random numbers as a function of (seed, epoch, example, purpose) alone.

    They are a counter's, encrypted (Philox, Salmon et al. 2011): the seed is the key and the rest the counter, so
    that beginning anywhere costs no more than going on.
    """

    def __init__(self, seed: int) -> None:
        philox = np.random.Philox(key=np.random.SeedSequence(seed).generate_state(2, np.uint64))
        self._generator = np.random.Generator(philox)
        # A counter whose numbers so far are all used up.
        self._state: Any = philox.state
        self._philox: Any = philox

    def begin(self, epoch: int, example: int, purpose: str) -> np.random.Generator:
        """The generator at the beginning of what is drawn for an example; it is the same object each time."""
        self._state["state"]["counter"][:] = (0, _PURPOSES[purpose], example, epoch)
        self._philox.state = self._state
        return self._generator

    def uniform(self, epoch: int, example: int, purpose: str) -> Iterator[float]:
        """Numbers in [0, 1), without an end; to be used before the next begin."""
        generator = self.begin(epoch, example, purpose)
        return chain.from_iterable(iter(lambda: generator.random(_CHUNK).tolist(), None))


class Loader:
    """Reads and pads training batches; with sampling, a sentence is another one in each epoch.

    What is drawn for a sentence depends on the seed, the epoch and its place in the split only. A sampled sentence
    may be longer than the one that its batch was planned by, but not longer than limits, those of the dataset: where
    the dataset's own ids were cut there, so is it, and otherwise it is left as it is in the dataset.

    Raises UsageError where a tokenizer has no subwords to sample.
    """

    def __init__(
        self,
        split: Split,
        config: SamplingConfig,
        *,
        tokenizers: Mapping[str, Tokenizer],
        limits: Mapping[str, Any],
        seed: int,
    ) -> None:
        self._split = split
        self._seed = seed
        self._limits = limits
        self._subwords = _subword_sampling(config, tokenizers)
        self._noise = None
        if config.has_noise:
            self._noise = WordNoise(
                np.array(word_starts(tokenizers["source"])),
                dropout=config.word_dropout,
                mask=config.word_mask,
                shuffle=config.word_shuffle,
            )

    @property
    def samples(self) -> bool:
        """Whether sentences are other than in the dataset, so that only what is loaded tells how long they are."""
        return bool(self._subwords) or self._noise is not None

    def load(self, indices: Indices, epoch: int) -> Batch:
        """Read and pad the pairs of a batch, as they are in an epoch."""
        if not self.samples:
            return load_batch(self._split, indices)
        # Not the loader's own: batches may be read in several threads.
        draws = Draws(self._seed)
        examples = indices.tolist()
        return Batch(
            source=pad_sequences([self._source(example, epoch, draws) for example in examples]),
            target=pad_sequences([self._ids("target", example, epoch, draws) for example in examples]),
        )

    def _source(self, example: int, epoch: int, draws: Draws) -> Sequence[int] | NDArray[np.integer]:
        ids = self._ids("source", example, epoch, draws)
        if self._noise is None or len(ids) == 0:
            return ids
        return self._noise.apply(np.asarray(ids, np.int64), draws.begin(epoch, example, "noise"))

    def _ids(self, side: str, example: int, epoch: int, draws: Draws) -> Sequence[int] | NDArray[np.integer]:
        """The ids of one side of a pair, sampled or as they are."""
        if side not in self._subwords:
            return self._split.ids(side, example)
        text = self._split.text(side, example)
        ids = self._subwords[side].encode(text, draws.uniform(epoch, example, side))
        limit = self._limits[f"max_{side}_length"]
        if limit and len(ids) > limit:
            plain = self._split.ids(side, example)
            was_cut = self._limits["on_long"] == "truncate" and len(plain) == limit
            return ids[:limit] if was_cut else plain
        return ids


def _subword_sampling(
    config: SamplingConfig, tokenizers: Mapping[str, Tokenizer]
) -> dict[str, SubwordSampling]:
    """How the subwords of each side that is to be sampled are; UsageError for a setting that none of them has."""
    alpha = DEFAULT_ALPHA if config.subword_alpha is None else config.subword_alpha
    dropout = DEFAULT_BPE_DROPOUT if config.bpe_dropout is None else config.bpe_dropout
    found = {
        side: SubwordSampling(tokenizers[side], alpha=alpha, dropout=dropout, side=side)
        for side in config.subword_sides
    }
    kinds = {sampling.kind for sampling in found.values()}
    for flag, value, kind, other in (
        ("--subword-alpha", config.subword_alpha, "unigram", "--bpe-dropout"),
        ("--bpe-dropout", config.bpe_dropout, "bpe", "--subword-alpha"),
    ):
        if value is not None and kinds and kind not in kinds:
            raise UsageError(
                f"{flag} {value:g} is for SentencePiece models of kind {kind}, and the tokenizer's is "
                f"{kinds.pop()}; give {other} instead"
            )
    return found
