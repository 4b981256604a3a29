"""Diverse beam search and sibling diversity, against both written out in plain Python."""

from __future__ import annotations

import pytest
from fairseq_symbols import pad_sequences
from reference import FAMILIES, SOURCES, beam_written_out, config, final, groups_written_out, make, same

from s2scli.errors import UsageError
from s2scli.search.decoding import search


@pytest.mark.parametrize(("beam", "groups"), [(2, 2), (6, 3), (6, 2)])
@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_groups_keep_away_from_each_other(family: str, beam: int, groups: int, strength: float) -> None:
    for seed in range(2):
        model = make(family, 80 + seed, target_size=12)
        chosen = config(
            beam=beam, nbest=beam, diverse_beam_groups=groups, diverse_beam_strength=strength, max_len_b=5
        )
        found = search(model, pad_sequences(SOURCES), chosen)
        for source, outputs in zip(SOURCES, found, strict=True):
            written = groups_written_out(model, source, chosen, [], groups)
            distinct = {tuple(item.ids): item for group in written for item in group}
            assert same(outputs, sorted(distinct.values(), key=lambda item: -final(item, chosen)), chosen)


@pytest.mark.parametrize("rate", [0.3, 2.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_siblings_pay_for_their_rank(family: str, rate: float) -> None:
    for seed in range(2):
        # With a beam of 6 there are fewer than twice as many tokens to begin with.
        for beam, size in ((4, 7), (4, 12), (6, 7)):
            model = make(family, 90 + seed, target_size=size)
            chosen = config(beam=beam, nbest=beam, sibling_diversity=rate, max_len_b=5)
            for source, outputs in zip(SOURCES, search(model, pad_sequences(SOURCES), chosen), strict=True):
                assert same(outputs, beam_written_out(model, source, chosen), chosen)


def test_both_make_outputs_more_different() -> None:
    """Of 5 outputs more are of different first tokens than a plain beam's."""
    model = make("transformer", 5, target_size=40)

    def first_tokens(**settings: object) -> int:
        chosen = config(beam=6, nbest=6, max_len_b=8, **settings)
        found = search(model, pad_sequences(SOURCES), chosen)
        return sum(len({item.ids[0] for item in outputs}) for outputs in found)

    plain = first_tokens()
    assert first_tokens(diverse_beam_groups=3, diverse_beam_strength=5.0) > plain
    assert first_tokens(sibling_diversity=5.0) > plain
    with pytest.raises(UsageError, match="--beam 5 cannot be divided into --diverse-beam-groups 2"):
        config(beam=5, diverse_beam_groups=2)
