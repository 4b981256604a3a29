"""Searches with Transformers of every kind: cached steps against teacher forcing, in every precision."""

from __future__ import annotations

import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import SOURCE_SIZE, SOURCES, beam_written_out, config, everything, same
from toys import random_model, random_options, small_transformer

from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.nn.quantized import quantize
from s2scli.search.decoding import search

SEEDS = range(20, 28)


def make(seed: int, target_size: int) -> Model:
    options = random_options(seed, "encoder", "decoder")
    return random_model(small_transformer(**options), SOURCE_SIZE, target_size, seed=seed, spread=0.4)


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_beam_is_written_out(seed: int, beam: int) -> None:
    """Sentences of several lengths in a batch from which those that have ended are taken out."""
    model = make(seed, target_size=23)
    settings = config(beam=beam, nbest=beam, max_len_a=0.5, max_len_b=6)
    outputs = search(model, pad_sequences(SOURCES), settings)
    for source, got in zip(SOURCES, outputs, strict=True):
        assert same(got, beam_written_out(model, source, settings), settings)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_exact_search_is_exhaustive(seed: int) -> None:
    model = make(seed, target_size=7)
    settings = config(beam=100, nbest=8, stop="exact", max_len_b=3)
    outputs = search(model, pad_sequences(SOURCES), settings)
    for source, got in zip(SOURCES, outputs, strict=True):
        assert same(got, everything(model, source, settings)[:8], settings)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.15), ("int8", 0.15)])
@pytest.mark.parametrize("seed", SEEDS)
def test_quantized_weights_are_those_of_the_options(seed: int, precision: str, tolerance: float) -> None:
    """Biases, norms and scales are not lost where weights are packed: far more would change than by rounding."""
    model, target = make(seed, target_size=11), pad_sequences([[5, 7, 4, 9, 6]])
    batch = Batch(pad_sequences(SOURCES[1:2]), target)
    with torch.inference_mode():
        expected = model.output(model(batch)).softmax(-1)[0]  # [T, V]
        quantize(model, precision)
        memory = model.encode(batch.source)
        state, token = model.start(memory), torch.tensor([[2]])
        for position in range(len(expected)):
            output = model.step(token, memory, state)
            got = output.log_probabilities()[0, 0].exp()
            torch.testing.assert_close(got, expected[position], rtol=0, atol=tolerance)
            state, token = output.state, target.ids[:, position : position + 1]
