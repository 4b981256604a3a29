"""Models that searches are tested with beside those of `reference`: some that copy, a language model, a shortlist."""

from __future__ import annotations

import torch
from fairseq_symbols import NUM_SPECIAL
from reference import SOURCE_SIZE
from toys import random_model, small_recurrent, small_transformer, small_transformer_lm

from s2scli.data.shortlist import ChosenShortlist, Shortlist
from s2scli.models.base import Model

COPYING = {
    "coverage": small_recurrent(copy=True, coverage=True, attention_query="current"),
    "bahdanau": small_recurrent(copy=True),
    "transformer": small_transformer(copy=True),
}
# A shortlist: how many words there are, translations of each, and frequent words that every source may have.
TARGET_SIZE, BEST, FIRST = 20, 3, 2


def copying_model(family: str, seed: int = 0, size: int = 7) -> Model:
    """A model that copies often."""
    model = random_model(COPYING[family], SOURCE_SIZE, size, seed=seed + 6, spread=0.4)
    with torch.no_grad():
        dict(model.named_parameters())["gate.bias"].fill_(-1.5)
    return model


def language_model(size: int) -> Model:
    """A language model over so many words."""
    return random_model(small_transformer_lm(), 0, size, seed=3, spread=0.4)


def table() -> ChosenShortlist:
    """Translations of the words of a source drawn at random; special symbols have none."""
    generator = torch.Generator().manual_seed(4)
    targets = torch.randint(4, TARGET_SIZE, (9, BEST), generator=generator, dtype=torch.int32)
    targets[:3] = -1
    frequent = torch.randperm(TARGET_SIZE, generator=generator).to(torch.int32)
    return ChosenShortlist(Shortlist(targets, frequent, NUM_SPECIAL), FIRST, BEST)
