"""A CTC head is searched like a model, alone and with the model that it is of."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import (
    EOS,
    FAMILIES,
    PAD,
    SOURCES,
    Stated,
    beam_written_out,
    config,
    everything,
    final,
    groups_written_out,
    make,
    same,
)
from toys import log_probabilities, random_ids

from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.models.ctc import CTCDecoder, JointDecoding
from s2scli.models.ensemble import Ensemble
from s2scli.nn.ctc import CTCHead
from s2scli.search.decoding import search

SIZE = 9


def with_head(family: str, seed: int = 1) -> tuple[Model, CTCHead]:
    """A model and a head of its encoder's states, whose probabilities differ from frame to frame."""
    model = make(family, seed, target_size=SIZE)
    head = CTCHead(model.encoder_width, SIZE)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return model, head.eval()


def frames_of(model: Model, head: CTCHead, source: list[int]) -> list[list[float]]:
    """The probabilities of all outputs in each frame of one source, those that no text has left out."""
    with torch.inference_mode():
        states = model.encoder_states(model.encode(pad_sequences([source])))[0]
        scores = head(states).double()
        scores[:, [0, PAD, EOS]] = -math.inf
        rows: list[list[float]] = scores.softmax(-1).tolist()
    return rows


def forward_probability(frames: list[list[float]], text: list[int]) -> float:
    """The probability of a text, by the forward algorithm of Graves et al. 2006, section 4.1."""
    padded = [SIZE]
    for symbol in text:
        padded += [symbol, SIZE]
    alpha = [0.0] * len(padded)
    for time, row in enumerate(frames):
        before = alpha
        alpha = []
        for at, symbol in enumerate(padded):
            total = float(time == 0 and at < 2) if time == 0 else before[at]
            if time and at:
                total += before[at - 1]
            if time and at > 1 and symbol not in (SIZE, padded[at - 2]):
                total += before[at - 2]
            alpha.append(total * row[symbol])
    return sum(alpha[-2:])


def texts(frames: list[list[float]], longest: int) -> dict[tuple[int, ...], float]:
    """The probabilities of all texts of so many symbols at the most."""
    symbols = [symbol for symbol in range(SIZE) if symbol not in (0, PAD, EOS)]
    return {
        text: forward_probability(frames, [*text])
        for length in range(longest + 1)
        for text in product(symbols, repeat=length)
    }


SHORT = [source[:3] for source in SOURCES]


def stated(model: Model, head: CTCHead, weight: float) -> Stated:
    """(1 - α) log p + α log p_ctc, where p_ctc is a quotient of sums over all texts."""
    of_sources: dict[tuple[int, ...], dict[tuple[int, ...], float]] = {}

    def ctc(source: list[int], ids: list[int]) -> list[float]:
        found = of_sources.setdefault(tuple(source), {})
        if not found:
            frames = frames_of(model, head, source)
            for text, p in texts(frames, len(frames)).items():
                for length in range(len(text) + 1):
                    found[text[:length]] = found.get(text[:length], 0.0) + p  # of the prefix
                found[*text, EOS] = p
        whole = found.get(tuple(ids), 0.0)
        if whole == 0:
            return [0.0 if token == EOS else -745.0 for token in range(SIZE)]
        parts = [found.get((*ids, token), 0.0) / whole for token in range(SIZE)]
        return [max(math.log(part), -745.0) if part else -745.0 for part in parts]

    def says(source: list[int], ids: list[int]) -> list[float]:
        attended = log_probabilities(model, source, [ids])[0][-1].tolist()
        return [
            (1 - weight) * one + weight * other for one, other in zip(attended, ctc(source, ids), strict=True)
        ]

    return Stated(says)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("beam", "weight"), [(1, 0.5), (3, 0.3), (3, 1.0)])
def test_the_search_is_that_over_weighted_sums(family: str, beam: int, weight: float) -> None:
    chosen = config(beam=beam, nbest=beam, max_len_b=3)
    model, head = with_head(family)
    ctc = CTCDecoder(model, head)
    found = search(ctc if weight == 1 else JointDecoding(model, ctc, weight), pad_sequences(SHORT), chosen)
    says = stated(model, head, weight)
    for source, outputs in zip(SHORT, found, strict=True):
        assert same(outputs, beam_written_out(says, source, chosen), chosen)


def test_an_exhaustive_search_and_diverse_beams() -> None:
    model, head = with_head("transformer")
    joint, says = JointDecoding(model, CTCDecoder(model, head), 0.4), stated(model, head, 0.4)
    chosen = config(beam=300, nbest=8, stop="exact", max_len_b=2)
    (outputs,) = search(joint, pad_sequences(SHORT[:1]), chosen)
    assert same(outputs, everything(says, SHORT[0], chosen)[:8], chosen)
    chosen = config(beam=4, nbest=4, diverse_beam_groups=2, max_len_b=3)
    for source, found in zip(SHORT, search(joint, pad_sequences(SHORT), chosen), strict=True):
        groups = groups_written_out(says, source, chosen, (), groups=2)
        distinct = {tuple(item.ids): item for group in groups for item in group}
        assert same(found, sorted(distinct.values(), key=lambda item: -final(item, chosen)), chosen)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_targets_have_the_probabilities_of_all_paths(weight: float) -> None:
    model, head = with_head("bahdanau")
    targets = random_ids([2, 0, 1, 3], SIZE, seed=4)
    batch = Batch(pad_sequences(SHORT), pad_sequences(targets))
    ctc = CTCDecoder(model, head)
    with torch.inference_mode():
        of_ctc = ctc.score_targets(batch)
        scores = of_ctc if weight == 1 else JointDecoding(model, ctc, weight).score_targets(batch)
        attended = model.score_targets(batch)
    for row, (source, target) in enumerate(zip(SHORT, targets, strict=True)):
        probability = forward_probability(frames_of(model, head, source), target)
        if probability:
            assert of_ctc[row].sum().item() == pytest.approx(math.log(probability), abs=1e-4)
        assert torch.allclose(scores[row], weight * of_ctc[row] + (1 - weight) * attended[row])
        assert not scores[row, len(target) + 1 :].any()


@pytest.mark.parametrize("weight", [0.4, 1.0])
def test_sentences_alone_have_the_outputs_that_they_have_together(weight: float) -> None:
    model, head = with_head("luong")
    ctc = CTCDecoder(model, head)
    decodable = ctc if weight == 1 else JointDecoding(model, ctc, weight)
    sources = random_ids([1 + number % 9 for number in range(40)], 9, seed=7)
    chosen = config(beam=3, nbest=3, stop="exact", max_len_b=9)
    together = search(decodable, pad_sequences(sources), chosen)
    for source, outputs in zip(sources, together, strict=True):
        (alone,) = search(decodable, pad_sequences([source]), chosen)
        assert [item.ids for item in outputs] == [item.ids for item in alone]
        assert [item.score for item in outputs] == pytest.approx([item.score for item in alone], abs=1e-4)


def test_an_ensemble_of_joint_models_is_the_mean_of_theirs() -> None:
    members = []
    for seed in (1, 2):
        model, head = with_head("transformer", seed)
        members.append(JointDecoding(model, CTCDecoder(model, head), 0.3))
    chosen = config(beam=3, nbest=3, max_len_b=3)
    twice = search(Ensemble([members[0], members[0]]), pad_sequences(SHORT), chosen)
    once = search(members[0], pad_sequences(SHORT), chosen)
    assert [[item.ids for item in row] for row in twice] == [[item.ids for item in row] for row in once]
    both = Ensemble(members)
    assert len(both.members) == 2
    assert search(both, pad_sequences(SHORT), chosen) != once


def test_one_frame_ends_no_search() -> None:
    """Where a minimum of tokens asks for more than frames can say, an output comes out all the same."""
    model, head = with_head("transformer")
    for weight in (0.5, 1.0):
        ctc = CTCDecoder(model, head)
        decodable = ctc if weight == 1 else JointDecoding(model, ctc, weight)
        for beam in (1, 4):
            chosen = config(beam=beam, min_len=5, max_len_b=9)
            (outputs,) = search(
                decodable, pad_sequences([[]]), chosen
            )  # the end symbol's state is all there is
            assert len(outputs[0].ids) == 6


def test_what_a_head_cannot_do_is_said() -> None:
    ctc = CTCDecoder(*with_head("transformer"))
    with pytest.raises(UsageError, match="--ctc-weight 1: a CTC head attends to nothing"):
        ctc.attention(Batch(pad_sequences(SHORT), pad_sequences(SHORT)))
    with pytest.raises(UsageError, match="leave --shortlist out"):
        ctc.with_models(lambda model: model)
