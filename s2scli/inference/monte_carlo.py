"""Monte Carlo dropout (Gal and Ghahramani 2016): a model whose dropout stays on, as a function of seed and line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from s2scli.data.sentences import Draws
from s2scli.models.base import Decodable
from s2scli.nn.dropout import retained

_SEEDS = 2**63


@contextmanager
def drawing_dropout(model: Decodable, seed: int, line: int) -> Iterator[None]:
    """A model with its dropout on in here, for one line by itself: all that is drawn follows from seed and line."""
    torch.manual_seed(int(Draws(seed).begin(0, line, "dropout").integers(_SEEDS)))
    with retained(model.members):
        yield
