"""The special symbols of fairseq, which most tests have, and batches with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from s2scli.data import batch
from s2scli.data.batch import Tokens
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS

BOS, PAD, EOS, UNK = range(4)
NUM_SPECIAL = 4


def pad_sequences(
    sequences: Sequence[NDArray[np.integer] | Sequence[int]],
    extended: Sequence[Sequence[int]] | None = None,
) -> Tokens:
    """Sequences without end symbols as a batch; extended: their ids in the extended target vocabulary."""
    return batch.pad_sequences(sequences, FAIRSEQ_SYMBOLS, extended)


def pad_outputs(sequences: Sequence[Sequence[int]], vocabulary: int) -> Tokens:
    """Outputs without end symbols as a batch, of a target vocabulary of so many symbols."""
    return batch.pad_outputs(sequences, vocabulary, FAIRSEQ_SYMBOLS)
