"""Models and tokenizers of other special symbols than fairseq's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import torch
from reference import FAMILIES, Stated
from toys import text_columns

from s2scli.configs.model import ModelConfig
from s2scli.data.batch import Tokens, pad_sequences
from s2scli.models.base import Model
from s2scli.models.factory import build_model
from s2scli.search.request import ScoredOutput
from s2scli.text.tokenizer import Tokenizer, load_tokenizer
from s2scli.text.vocabulary import SpecialSymbols

# As in T5: padding is the start too, and there is no further special symbol.
T5_LIKE = SpecialSymbols(start=0, end=1, padding=0, unknown=2)
# Those of fairseq under other numbers, in which the end and the unknown symbol still come in this order.
RELABELLED = SpecialSymbols(start=0, end=0, padding=3, unknown=1)
NEW_NUMBERS = [2, 3, 0, 1]
SOURCE_SIZE, TARGET_SIZE = 9, 8

Says = Callable[[list[int], list[int]], list[float]]


def made(
    config: str | ModelConfig, symbols: SpecialSymbols, *, target_size: int = TARGET_SIZE, seed: int = 5
) -> Model:
    """A model, of a family of `reference` or of a config, whose weights are moved away from their first values."""
    config = FAMILIES[config] if isinstance(config, str) else config
    torch.manual_seed(seed)
    model = build_model(config, text_columns(SOURCE_SIZE, target_size, symbols))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.4 * torch.randn(parameter.shape)
    return model.eval()


def source_of(
    model: Model, sources: Sequence[Sequence[int]], extended: Sequence[Sequence[int]] | None = None
) -> Tokens:
    """Sources as the model reads them."""
    return pad_sequences(sources, model.source_symbols, extended)


def next_token(
    model: Model, source: Sequence[int], ids: Sequence[int], extended: Sequence[int] | None = None
) -> list[float]:
    """The log-probabilities of the token after some, all special symbols put there by hand.

    extended: the source in the extended vocabulary, for models that copy.
    """
    of_source = torch.tensor([[*source, model.source_symbols.end]])
    words = None if extended is None else torch.tensor([[*extended, model.symbols.end]])
    read = [token if token < model.target_size else model.symbols.unknown for token in ids]
    with torch.no_grad():
        memory = model.encode(Tokens(of_source, torch.tensor([of_source.size(1)]), words))
        hidden = model.decode(memory, torch.tensor([[model.symbols.start, *read]]))
        scores: list[float] = model.output(hidden)[0, -1].log_softmax(-1).tolist()
    return scores


def stated(says: Model | Says) -> Stated:
    """A T5-like model for the searches written out, whose special symbols are fairseq's: all ids are one more there."""

    def shifted(source: list[int], ids: list[int]) -> list[float]:
        ids = [token - 1 for token in ids]
        scores = next_token(says, source, ids) if isinstance(says, Model) else says(source, ids)
        return [-math.inf, -math.inf, *scores[1:]]

    return Stated(shifted)


def one_more(outputs: list[ScoredOutput]) -> list[ScoredOutput]:
    """Outputs of a T5-like model in the ids of the searches written out."""
    return [replace(item, ids=[token + 1 for token in item.ids]) for item in outputs]


def renumbered(ids: Sequence[int]) -> list[int]:
    """Ids of fairseq's special symbols under the other numbers."""
    return [NEW_NUMBERS[token] if token < 4 else token for token in ids]


def relabelled(model: Model, config: str | ModelConfig) -> Model:
    """The model with the rows of its tables where the other numbers of their symbols are."""
    other = made(config, RELABELLED, target_size=model.target_size)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for ours, theirs in tables(model, other):
            theirs.copy_(in_new_order(ours))
    return other.eval()


def tables(one: Model, other: Model) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What two models of one config have a row of for each symbol."""
    pairs = [(table.weight, other.embeddings[side].weight) for side, table in one.embeddings.items()]
    pairs += [
        (ours, theirs)
        for ours, theirs in zip(one.output.parameters(), other.output.parameters(), strict=True)
        if len(ours) == one.target_size
    ]
    return list({id(pair[1]): pair for pair in pairs}.values())


def in_new_order(table: torch.Tensor) -> torch.Tensor:
    """The rows where the other numbers of their symbols are."""
    moved = torch.empty_like(table)
    moved[renumbered(range(len(table)))] = table
    return moved


def with_symbols(tokenizer: Tokenizer, symbols: SpecialSymbols) -> Tokenizer:
    """The tokenizer with other special symbols, read from its document."""
    document = tokenizer.document() | {"version": 2, "special_symbols": asdict(symbols)}
    return load_tokenizer(json.dumps(document).encode())
