"""Nearest neighbours against all distances written out, and against a search over the mixed probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import SOURCES, Stated, beam_written_out, config, make, same
from search_models import language_model
from toys import random_model, small_transformer

from s2scli.data.batch import Batch
from s2scli.data.datastore import write_datastore
from s2scli.errors import DataError, UsageError
from s2scli.models import neighbours
from s2scli.models.fusion import ShallowFusion
from s2scli.models.neighbours import Datastore, NearestNeighbours
from s2scli.search.decoding import search

SIZE, NUMBER, WEIGHT, SPREAD, K = 23, 57, 0.6, 3.0, 5
FAMILIES = ["transformer", "luong", "convolutional"]


def states_before(model: torch.nn.Module, source: list[int], targets: list[list[int]]) -> torch.Tensor:
    """The state that predicts what follows each of some beginnings of one source; [targets, D]."""
    batch = Batch(pad_sequences([source] * len(targets)), pad_sequences(targets))
    with torch.no_grad():
        return model(batch)[:, -1].double()


def remembered(width: int) -> Datastore:
    """States and tokens as they are drawn; some states are there twice, with two tokens."""
    torch.manual_seed(3)
    keys = torch.randn(NUMBER, width)
    keys[7] = keys[8]
    values = torch.randint(4, SIZE, (NUMBER,))
    return Datastore(keys, keys.square().sum(1), values)


def width_of(model: torch.nn.Module) -> int:
    return int(model.output.weight.size(1))  # type: ignore[union-attr, operator]


def mixed(state: torch.Tensor, own: torch.Tensor, store: Datastore) -> torch.Tensor:
    """λ p_kNN + (1 - λ) p, all distances being worked out one by one; state [D], own [V] log-probabilities."""
    distances = ((store.keys.double() - state) ** 2).sum(1)
    nearest = distances.argsort()[:K]
    shares = torch.exp(-distances[nearest] / SPREAD) / torch.exp(-distances[nearest] / SPREAD).sum()
    probabilities = (1 - WEIGHT) * own.exp()
    for share, row in zip(shares, nearest, strict=True):
        probabilities[store.values[row]] += WEIGHT * share
    return probabilities.log()


def beside(model: torch.nn.Module, store: Datastore) -> NearestNeighbours:
    return NearestNeighbours(model, store, weight=WEIGHT, number=K, spread=SPREAD)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beam", [1, 3])
def test_the_search_is_that_over_mixed_probabilities(family: str, beam: int) -> None:
    model, chosen = make(family, 10, target_size=SIZE), config(beam=beam, nbest=beam, max_len_b=5)
    store = remembered(width_of(model))

    def says(source: list[int], ids: list[int]) -> list[float]:
        # What follows is asked of the state after the last token; the one that is put there is not read.
        state = states_before(model, source, [ids])[0]
        own = model.output(state.float()).double().log_softmax(-1)
        return mixed(state, own.detach(), store).tolist()

    found = search(beside(model, store), pad_sequences(SOURCES), chosen)
    alone = search(model, pad_sequences(SOURCES), chosen)
    assert [item.ids for row in found for item in row] != [item.ids for row in alone for item in row]
    for source, outputs in zip(SOURCES, found, strict=True):
        assert same(outputs, beam_written_out(Stated(says), source, chosen), chosen)


def test_targets_are_scored_by_mixed_probabilities() -> None:
    model = make("transformer", 1, target_size=SIZE)
    store, targets = remembered(width_of(model)), [[5, 9, 4], [7]]
    batch = Batch(pad_sequences(SOURCES[:2]), pad_sequences(targets))
    with torch.no_grad():
        scores, states = beside(model, store).score_targets(batch), model(batch)
    assert batch.target is not None
    for row, position in batch.target.mask.nonzero().tolist():
        own = model.output(states[row, position]).double().log_softmax(-1).detach()
        expected = mixed(states[row, position].double(), own, store)[batch.target.ids[row, position]]
        assert float(scores[row, position]) == pytest.approx(float(expected), abs=1e-5)
    assert float(scores[1, 2:].abs().sum()) == 0


def test_without_weight_it_is_the_model_and_beside_a_language_model_both_count() -> None:
    model, chosen = make("transformer", 4, target_size=SIZE), config(beam=3, max_len_b=5)
    store, sources = remembered(width_of(model)), pad_sequences(SOURCES)
    none = NearestNeighbours(model, store, weight=0.0, number=K, spread=SPREAD)
    ids = [[item.ids for item in row] for row in search(none, sources, chosen)]
    assert ids == [[item.ids for item in row] for row in search(model, sources, chosen)]
    fused = ShallowFusion(beside(model, store), language_model(SIZE), 0.5)
    assert [[item.ids for item in row] for row in search(fused, sources, chosen)] != ids


@pytest.mark.parametrize("at_once", [1, 200, 1 << 24])
def test_the_nearest_are_found_in_parts_of_any_size(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_AT_ONCE", at_once)
    store = remembered(9)
    queries = torch.randn(11, 9)
    distances, tokens = store.nearest(queries, K)
    everything = torch.cdist(queries.double(), store.keys.double()) ** 2
    expected, rows = everything.sort(dim=1)
    torch.testing.assert_close(distances.double(), expected[:, :K], rtol=1e-4, atol=1e-4)
    assert (tokens == store.values[rows[:, :K]]).float().mean() > 0.9  # equal distances come in any order
    assert store.nearest(queries, 1000)[0].shape == (11, NUMBER)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_file_holds_what_was_written(tmp_path: Path, dtype: str) -> None:
    path, draw = tmp_path / "store.safetensors", np.random.default_rng(1)
    states, tokens = draw.normal(size=(NUMBER, 6)).astype(np.float32), draw.integers(0, SIZE, NUMBER)
    with write_datastore(path, size=NUMBER, width=6, dtype=dtype, fingerprint="abc") as writer:
        for first in range(0, NUMBER, 20):
            rows = slice(first, first + 20)
            writer.append(states[rows], tokens[rows].astype(np.int32))
    store = Datastore.open(path, "abc", 6, SIZE)
    np.testing.assert_array_equal(store.keys.numpy(), states.astype(dtype))
    np.testing.assert_array_equal(store.values.numpy(), tokens)
    np.testing.assert_allclose(
        store.norms.numpy(), (states.astype(dtype).astype(float) ** 2).sum(1), rtol=1e-5
    )
    for arguments, message in (
        (("other", 6, SIZE), "is of another checkpoint.*abc; those of this one have other"),
        (("abc", 7, SIZE), "do not fit"),
        (("abc", 6, 5), "holds tokens that the model has not"),
    ):
        with pytest.raises(DataError, match=message):
            Datastore.open(path, *arguments)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match="cannot read the datastore"):
        Datastore.open(path, "abc", 6, SIZE)
    with pytest.raises(DataError, match="cannot read the datastore"):
        Datastore.open(tmp_path / "none.safetensors", "abc", 6, SIZE)


def test_states_that_float16_cannot_hold_leave_no_file(tmp_path: Path) -> None:
    path = tmp_path / "store.safetensors"
    with (
        pytest.raises(DataError, match="give --dtype float32"),
        write_datastore(path, size=1, width=2, dtype="float16", fingerprint="") as writer,
    ):
        writer.append(np.array([[1e6, 0]], np.float32), np.array([4], np.int32))
    assert not path.exists()


def test_a_model_that_copies_is_refused() -> None:
    with pytest.raises(UsageError, match="models that copy"):
        beside(random_model(small_transformer(copy=True), SIZE, SIZE), remembered(16))
