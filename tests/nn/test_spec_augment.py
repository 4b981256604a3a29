"""SpecAugment hides what its policy says, fills it with the mean and leaves the rest."""

from __future__ import annotations

import pytest
import torch

from s2scli.configs.spec_augment import NAMED, SpecAugmentPolicy
from s2scli.errors import UsageError
from s2scli.nn.spec_augment import SpecAugment, spec_augment


def draws_of(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return lambda rows, columns: torch.rand(rows, columns, dtype=torch.float64, generator=generator)


def given(*rows: float):
    """Draws that are as they are said, in each row alike."""
    return lambda number, columns: torch.tensor(rows, dtype=torch.float64).expand(number, columns)


def test_stretches_are_where_the_formula_has_them() -> None:
    frames = torch.arange(2 * 20 * 10, dtype=torch.float32).view(2, 20, 10)
    lengths = torch.tensor([20, 12])
    policy = SpecAugmentPolicy.of("4/1/100/0.5/1")
    # f = ⌊0.9 · 4⌋ = 3 of 10 bins from ⌊0.5 · 7⌋ = 3 on; t = ⌊0.5 · min(100, 0.5 τ)⌋ = 5 and 3 frames, from
    # ⌊0.25 · 15⌋ = 3 and ⌊0.25 · 9⌋ = 2 on.
    found = spec_augment(frames, lengths, policy, given(0.9, 0.5, 0.5, 0.25))
    for row, (length, first, last) in enumerate([(20, 3, 8), (12, 2, 5)]):
        expected = frames[row].clone()
        mean = frames[row, :length].mean()
        expected[:length, 3:6] = mean
        expected[first:last] = mean
        assert torch.equal(found[row], expected)


def test_widths_and_places_are_uniform() -> None:
    policy = SpecAugmentPolicy.of("5/1/0/1/0")
    rows = 20000
    hidden = (
        spec_augment(torch.ones(rows, 1, 8).cumsum(2), torch.full((rows,), 1), policy, draws_of(1)) == 4.5
    )
    widths = hidden[:, 0].sum(1)
    # The mean itself is the value of no bin, so that what equals it is hidden.
    shares = torch.bincount(widths, minlength=5) / rows
    assert torch.allclose(shares, torch.full((5,), 0.2), atol=0.02)
    of_three = hidden[widths == 3, 0].int().argmax(1)
    assert torch.allclose(torch.bincount(of_three) / len(of_three), torch.full((5,), 0.2), atol=0.03)


@pytest.mark.parametrize("bins", [1, 2, 13])
def test_fewer_bins_than_a_mask_may_have_are_hidden_in_part(bins: int) -> None:
    """Where fairseq hides nothing, without a word."""
    torch.manual_seed(bins)
    frames = torch.randn(500, 30, bins)
    hidden = (
        spec_augment(frames, torch.full((500,), 30), SpecAugmentPolicy.of("27/1/0/1/0"), draws_of(2))
        != frames
    )
    widths = hidden[:, 0].sum(1)
    assert widths.max() == bins - 1
    assert widths.min() == 0


def test_what_is_hidden_does_not_depend_on_the_batch() -> None:
    frames = torch.randn(3, 40, 80)
    lengths = torch.tensor([40, 1, 23])
    policy = SpecAugmentPolicy.of("ss")
    drawn = torch.rand(3, 8, dtype=torch.float64)
    together = spec_augment(frames, lengths, policy, lambda *_: drawn)
    for row, length in enumerate(lengths.tolist()):
        one = spec_augment(
            frames[row : row + 1, :length],
            lengths[row : row + 1],
            policy,
            lambda *_, row=row: drawn[row : row + 1],
        )
        assert torch.allclose(together[row, :length], one[0])
        assert torch.equal(together[row, length:], frames[row, length:])
    # One frame has none to spare; of its bins some may go.
    assert not torch.equal(together[0], frames[0])


def test_the_same_seed_hides_the_same_and_evaluation_nothing() -> None:
    module = SpecAugment(SpecAugmentPolicy.of("ld"))
    frames, lengths = torch.randn(2, 50, 40), torch.tensor([50, 31])
    found = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        found.append(module(frames, lengths))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert module.eval()(frames, lengths) is frames


def test_names_are_the_papers_numbers() -> None:
    assert SpecAugmentPolicy.of("ld") == SpecAugmentPolicy(
        frequency_width=27, frequency_masks=2, time_width=100, time_share=1.0, time_masks=2
    )
    assert SpecAugmentPolicy.of("sm").time_share == 0.2
    assert {*NAMED} == {"lb", "ld", "sm", "ss"}


@pytest.mark.parametrize(
    "text", ["le", "27/2/100/1", "27/2/100/2/2", "a/2/100/1/2", "27/-1/100/1/2", "27/2/100/0/2"]
)
def test_what_is_no_policy_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=f"--specaugment {text}"):
        SpecAugmentPolicy.of(text)
