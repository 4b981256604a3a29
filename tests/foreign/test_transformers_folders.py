"""Folders of transformers: tiny random models of each family say the same here, and read the same ids of a text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import (
    imported,
    log_probabilities,
    same_rows,
    their_log_probabilities,
)
from torch import Tensor
from transformers_families import FAMILIES, TARGET

from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.importing import ImportConfig
from s2scli.configs.search import SearchConfig
from s2scli.data.batch import pad_sequences
from s2scli.foreign.conversion import converted
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import to_theirs
from s2scli.models.base import Model
from s2scli.search.decoding import search


@pytest.fixture(autouse=True)
def one_seed() -> None:
    """Models of transformers draw their first weights from torch's own generator."""
    torch.manual_seed(11)


def orders_of(ours: Model, theirs: Any) -> list[list[int]]:
    """For each id of ours theirs, of the source and of the target, by rows of embeddings that are equal."""
    encoder, decoder = theirs.get_encoder(), theirs.get_decoder()
    pairs = zip(("source", "target"), (encoder, decoder), strict=True)
    return [same_rows(ours.embeddings[side].weight, part.embed_tokens.weight) for side, part in pairs]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_says_the_same_of_the_same_text(family: str, tmp_path: Path) -> None:
    made = FAMILIES[family](tmp_path / "theirs")
    model, tokenizers = imported(tmp_path / "theirs", tmp_path / "ours", **made.get("settings", {}))
    orders = orders_of(model, made["model"])
    source = tokenizers["source"].encode(made["text"])
    target = tokenizers["target"].encode(TARGET)
    assert [orders[0][number] for number in [*source, model.source_symbols.end]] == made["source"]
    assert [orders[1][number] for number in [model.symbols.start, *target]] == made["target"]
    ours = log_probabilities(model, source, target)
    expected = their_log_probabilities(made["model"], made["source"], made["target"])
    assert torch.allclose(ours, expected[:, orders[1]], rtol=0, atol=1e-5)
    assert tokenizers["target"].decode(target) == TARGET


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_read_is_written_as_it_was(family: str, tmp_path: Path) -> None:
    FAMILIES[family](tmp_path)
    source = ForeignSource(tmp_path)
    name = source.config["model_type"]
    values = {"source_lang": "en_XX", "target_lang": "ro_RO"} if name in ("mbart", "m2m_100") else {}
    found = FOREIGN_FAMILIES[name].read(source, ImportConfig(source=tmp_path, save_dir=tmp_path, **values))
    written = to_theirs(found.table, converted(found).weights)
    assert written.keys() == {
        key for key in found.weights if key in written or not re.fullmatch(found.unused, key)
    }
    for key, tensor in written.items():
        # Learned positions begin in the third row, and nothing is in those before.
        skipped = 2 if "embed_positions" in key else 0
        assert torch.equal(tensor[skipped:], found.weights[key][skipped:]), key


# Those whose decoders begin with one symbol, and read no language's code behind it.
@pytest.mark.parametrize("family", ["marian", "marian, two vocabularies", "t5", "t5 1.1", "pegasus"])
@pytest.mark.parametrize("beam", [1, 4])
def test_searches_find_what_transformers_finds(family: str, beam: int, tmp_path: Path) -> None:
    made = FAMILIES[family](tmp_path / "theirs")
    model, tokenizers = imported(tmp_path / "theirs", tmp_path / "ours")
    order = orders_of(model, made["model"])[1]
    padding, end = order[model.symbols.padding], order[model.symbols.end]

    def only_the_end(ids: Tensor, scores: Tensor) -> Tensor:
        """What is longest ends, at its own log-probability; transformers' forced symbols have one of 0."""
        return scores if ids.size(1) < 8 else scores.where(torch.arange(scores.size(1)) == end, -torch.inf)

    expected = (
        made["model"]
        .generate(
            torch.tensor([made["source"]]),
            num_beams=beam,
            do_sample=False,
            max_length=9,
            early_stopping=beam > 1,
            length_penalty=1.0,
            logits_processor=[only_the_end],
            suppress_tokens=[padding],
            use_cache=False,  # with it transformers takes the decoder of T5 to be as deep as the encoder
            bad_words_ids=None,
        )[0]
        .tolist()
    )
    source = pad_sequences([tokenizers["source"].encode(made["text"])], symbols=model.source_symbols)
    config = SearchConfig(beam=beam, max_len_a=0, max_len_b=7, stop="fairseq")
    (outputs,) = search(model, source, config)
    assert [order[token] for token in outputs[0].ids] == [token for token in expected[1:] if token != padding]
