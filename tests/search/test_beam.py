"""Beam search against exhaustive enumeration and against fairseq's rules written out in plain Python.

Neither reference uses the search's code or the models' step: every prefix is scored by teacher forcing.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import (
    BOS,
    EOS,
    FAMILIES,
    PAD,
    SOURCE_SIZE,
    SOURCES,
    Hypothesis,
    ahead_written_out,
    beam_written_out,
    config,
    everything,
    final,
    make,
)
from toys import (
    log_probabilities,
    random_ids,
    random_tokens,
)

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.search.base import Search, SentenceBatch
from s2scli.search.beam import BeamSearch
from s2scli.search.candidates import best_columns, top_candidates
from s2scli.search.decoding import search
from s2scli.search.greedy import GreedySearch
from s2scli.search.request import Request, ScoredOutput


def run_to_its_end(
    kind: type[Search], model: Model, sources: list[list[int]], settings: SearchConfig
) -> list[list[ScoredOutput]]:
    with torch.inference_mode():
        search = kind(
            model, SentenceBatch([*range(len(sources))], pad_sequences(sources), Request([])), settings
        )
        while search.num_open:
            search.step()
    return [search.outputs()[sentence] for sentence in range(len(sources))]


def run(model: Model, sources: list[list[int]], **settings: Any) -> list[list[ScoredOutput]]:
    return run_to_its_end(BeamSearch, model, sources, config(**settings))


def check(outputs: list[ScoredOutput], expected: list[Hypothesis], settings: SearchConfig) -> None:
    assert [output.ids for output in outputs] == [item.ids for item in expected]
    for output, item in zip(outputs, expected, strict=True):
        assert output.score == pytest.approx(final(item, settings), abs=1e-4)
        assert output.token_scores == pytest.approx(item.token_scores, abs=1e-4)


@pytest.mark.parametrize("lenpen", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_wide_exact_search_is_exhaustive(family: str, lenpen: float) -> None:
    """Seven symbols, four of them ordinary: 4³ open hypotheses at most, all of them kept."""
    for seed in range(3):
        model = make(family, seed, target_size=7)
        settings = config(beam=100, nbest=8, lenpen=lenpen, stop="exact", max_len_b=3)
        outputs = search(model, pad_sequences(SOURCES), settings)
        for source, got in zip(SOURCES, outputs, strict=True):
            check(got, everything(model, source, settings)[:8], settings)


def test_a_very_wide_exact_search_is_exhaustive_over_four_tokens() -> None:
    model = make("transformer", 5, target_size=7)
    settings = config(beam=400, nbest=400, stop="exact", max_len_b=4)
    ranked = everything(model, SOURCES[1], settings)
    assert len(ranked) == 4 + 16 + 64 + 256
    (outputs,) = search(model, pad_sequences(SOURCES[1:2]), settings)
    check(outputs, ranked, settings)


@pytest.mark.parametrize("beam", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_search_is_fairseqs(family: str, beam: int) -> None:
    for seed, lenpen in enumerate((1.0, 0.0, 2.0)):
        model = make(family, 10 + seed, target_size=23)
        settings = {"beam": beam, "nbest": beam, "lenpen": lenpen, "max_len_a": 0.5, "max_len_b": 6}
        for source, got in zip(SOURCES, run(model, SOURCES, **settings), strict=True):
            check(got, beam_written_out(model, source, config(**settings)), config(**settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_that_stops_when_it_is_ahead(family: str) -> None:
    for seed, lenpen in enumerate((1.0, 0.0, 2.0)):
        model = make(family, 10 + seed, target_size=23)
        for beam, nbest in ((2, 1), (5, 1), (4, 3)):
            settings = config(beam=beam, nbest=nbest, lenpen=lenpen, stop="ahead", max_len_b=6)
            outputs = search(model, pad_sequences(SOURCES), settings)
            for source, got in zip(SOURCES, outputs, strict=True):
                check(got, ahead_written_out(model, source, settings), settings)


def test_a_model_that_is_sure_is_not_left_too_soon() -> None:
    """fairseq's rule takes the first K outputs that end, however bad, and is worse than greedy search for some."""
    worse = {"fairseq": 0, "ahead": 0, "exact": 0}
    for seed in range(6):
        model = make("transformer", 60 + seed, target_size=7)
        with torch.no_grad():
            model.output.weight *= 6
        greedy = search(model, pad_sequences(SOURCES), config(beam=1, max_len_b=12))
        for stop in worse:
            settings = config(beam=5, max_len_b=12, stop=stop)
            outputs = search(model, pad_sequences(SOURCES), settings)
            worse[stop] += sum(
                one[0].score < other[0].score - 1e-4 for one, other in zip(outputs, greedy, strict=True)
            )
    assert worse["ahead"] == worse["exact"] == 0
    assert worse["fairseq"] > 4


@pytest.mark.parametrize("beam", [2, 3, 5])
def test_the_search_is_fairseqs_where_most_hypotheses_want_to_end(beam: int) -> None:
    """So that several of the best candidates end in one step, and 2K are needed to have K that do not."""
    crowded = 0
    for seed in range(4):
        model = make("transformer", 40 + seed, target_size=23)
        with torch.no_grad():
            bias = model.get_parameter("decoder_layers.1.feed_forward_residual.norm.bias")
            model.output.weight[EOS] += 4 * bias / bias.square().sum()
        settings = {"beam": beam, "nbest": beam, "max_len_b": 6, "min_len": 2}
        for source, got in zip(SOURCES, run(model, SOURCES, **settings), strict=True):
            check(got, beam_written_out(model, source, config(**settings)), config(**settings))
            lengths = [len(item.ids) for item in got]
            crowded += len(lengths) > len(set(lengths))
    assert crowded > 4


@pytest.mark.parametrize("beam", [2, 4, 9])
def test_the_search_is_fairseqs_on_a_vocabulary_as_small_as_the_beam(beam: int) -> None:
    for seed in range(4):
        model = make("transformer", 20 + seed, target_size=7)
        settings = {"beam": beam, "nbest": beam, "max_len_b": 5}
        for source, got in zip(SOURCES, run(model, SOURCES, **settings), strict=True):
            check(got, beam_written_out(model, source, config(**settings)), config(**settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_search_is_a_beam_of_one(family: str) -> None:
    for seed in range(4):
        model = make(family, seed, target_size=40)
        settings = config(beam=1, max_len_a=1.0, max_len_b=3, lenpen=0.7)
        greedy = run_to_its_end(GreedySearch, model, SOURCES, settings)
        beam = run_to_its_end(BeamSearch, model, SOURCES, settings)
        assert search(model, pad_sequences(SOURCES), settings) == greedy
        for one, other, ids in zip(greedy, beam, SOURCES, strict=True):
            assert len(one) == len(other) == 1
            assert one[0].ids == other[0].ids
            assert one[0].score == pytest.approx(other[0].score, abs=1e-5)
            assert one[0].token_scores == pytest.approx(other[0].token_scores, abs=1e-5)
            check(one, beam_written_out(model, ids, settings), settings)


def test_the_default_settings_are_fairseqs_options_but_for_when_a_sentence_is_done() -> None:
    """fairseq/options.py: --beam 5 --nbest 1 --lenpen 1 --max-len-a 0 --max-len-b 200 --min-len 1."""
    defaults = SearchConfig()
    assert (defaults.beam, defaults.nbest, defaults.lenpen) == (5, 1, 1.0)
    assert (defaults.max_len_a, defaults.max_len_b, defaults.min_len, defaults.stop) == (
        0.0,
        200,
        1,
        "ahead",
    )
    with pytest.raises(UsageError, match=r"--nbest 3 needs a beam at least as wide; --beam is 2"):
        config(beam=2, nbest=3)


def eager_to_end() -> Model:
    """A model for which the end symbol is by far the most probable at every position."""
    model = make("transformer", 3, target_size=9)
    with torch.no_grad():
        state = model(Batch(pad_sequences([SOURCES[0]]), pad_sequences([[]])))[0, 0]
        model.output.weight[EOS] += 20 * state / state.square().sum()
    return model


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("min_len", [1, 2, 5])
def test_the_shortest_output(beam: int, min_len: int) -> None:
    """min_len counts tokens before the end symbol, as fairseq's does: its default of 1 rules out empty output."""
    model = eager_to_end()
    settings = config(beam=beam, min_len=min_len, max_len_b=8)
    outputs = search(model, pad_sequences(SOURCES), settings)
    assert len(outputs[0][0].ids) == min_len + 1
    for source, (best,) in zip(SOURCES, outputs, strict=True):
        assert len(best.ids) >= min_len + 1
        check([best], beam_written_out(model, source, settings), settings)


def test_an_empty_output_has_to_be_asked_for() -> None:
    model = eager_to_end()
    for beam in (1, 4):
        for settings, length in (({}, 2), ({"min_len": 0}, 1)):
            ((best,),) = search(model, pad_sequences(SOURCES[:1]), config(beam=beam, max_len_b=5, **settings))
            assert len(best.ids) == length


@pytest.mark.parametrize("beam", [1, 3])
def test_the_longest_output_is_each_sentences_own(beam: int) -> None:
    """A model that never ends by itself is cut at max_len_a · length + max_len_b, the source's end symbol counted."""
    model = make("transformer", 4, target_size=9)
    with torch.no_grad():
        model.decoder_norm = torch.nn.LayerNorm(16)
        model.output.weight[EOS] = 0
        model.output.weight[4:] = 2.0
        model.decoder_norm.bias.fill_(1.0)
    settings = config(beam=beam, max_len_a=1.5, max_len_b=2)
    lengths = [8, 12, 5, 9]  # of sources of 4, 7, 2 and 5 tokens
    for outputs, length in zip(search(model, pad_sequences(SOURCES), settings), lengths, strict=True):
        assert len(outputs[0].ids) == length + 1
        assert outputs[0].ids[-1] == EOS
        assert EOS not in outputs[0].ids[:-1]


@pytest.mark.parametrize("beam", [1, 3])
def test_the_longest_output_is_stronger_than_the_shortest(beam: int) -> None:
    model = make("transformer", 4, target_size=9)
    outputs = search(model, pad_sequences(SOURCES), config(beam=beam, min_len=9, max_len_a=0.01, max_len_b=4))
    assert [len(items) for items in outputs] == [1] * len(SOURCES)
    for (best,), source in zip(outputs, SOURCES, strict=True):
        assert len(best.ids) == 5
        assert BOS not in best.ids
        rows = log_probabilities(model, source, [best.ids[:-1]])[0]
        assert best.token_scores == pytest.approx(
            [rows[t, token].item() for t, token in enumerate(best.ids)], abs=1e-4
        )


@pytest.mark.parametrize(
    "settings", [{"beam": 1}, {"beam": 5, "nbest": 5}, {"beam": 4, "nbest": 3, "stop": "exact"}]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_large_batch_is_as_good_as_a_small_one(family: str, settings: dict[str, Any]) -> None:
    """So large that sentences that are done stay in it for a while."""
    model = make(family, 9, target_size=70)
    sources = random_ids([number % 11 for number in range(60)], SOURCE_SIZE, seed=6)
    chosen = config(**settings, max_len_a=1.0, max_len_b=3)
    together = search(model, pad_sequences(sources), chosen)
    parts = [
        items
        for start in range(0, 60, 5)
        for items in search(model, pad_sequences(sources[start : start + 5]), chosen)
    ]
    assert len({len(items[0].ids) for items in together}) > 3
    assert [[item.ids for item in items] for items in together] == [
        [item.ids for item in items] for items in parts
    ]
    for one, other in zip(together, parts, strict=True):
        assert [item.score for item in one] == pytest.approx([item.score for item in other], abs=1e-4)
        for item, same in zip(one, other, strict=True):
            assert item.token_scores == pytest.approx(same.token_scores, abs=1e-4)


@pytest.mark.parametrize(
    "settings", [{"beam": 1}, {"beam": 4, "nbest": 4}, {"beam": 4, "nbest": 3, "stop": "exact"}]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentences_outputs_do_not_depend_on_its_batch(family: str, settings: dict[str, Any]) -> None:
    model = make(family, 6, target_size=70)
    sources = random_ids([3, 12, 1, 7, 7, 2, 9, 0], SOURCE_SIZE, seed=4)
    chosen = config(**settings, max_len_a=1.0, max_len_b=4)
    together = search(model, pad_sequences(sources), chosen)
    for source, outputs in zip(sources, together, strict=True):
        (alone,) = search(model, pad_sequences([source]), chosen)
        assert [item.ids for item in outputs] == [item.ids for item in alone]
        assert [item.score for item in outputs] == pytest.approx([item.score for item in alone], abs=1e-4)
    backwards = search(model, pad_sequences(sources[::-1]), chosen)
    assert [[item.ids for item in outputs] for outputs in backwards[::-1]] == [
        [item.ids for item in outputs] for outputs in together
    ]


@pytest.mark.parametrize("stop", ["fairseq", "exact"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_an_output_says_of_itself(family: str, stop: str) -> None:
    """Best first, each once; token scores are the teacher-forced log-probabilities and make up the score."""
    model = make(family, 7, target_size=30)
    for lenpen in (0.0, 0.6, 1.0, 2.0):
        outputs = run(model, SOURCES, beam=6, nbest=6, lenpen=lenpen, stop=stop, max_len_b=7)
        for source, items in zip(SOURCES, outputs, strict=True):
            assert 1 < len(items) <= 6
            assert [item.score for item in items] == sorted((item.score for item in items), reverse=True)
            assert len({tuple(item.ids) for item in items}) == len(items)
            for item in items:
                assert item.ids[-1] == EOS
                assert not {BOS, PAD, EOS} & set(item.ids[:-1])
                assert sum(item.token_scores) == pytest.approx(item.score * len(item.ids) ** lenpen, abs=1e-4)
                rows = log_probabilities(model, source, [item.ids[:-1]])[0]
                expected = [rows[position, token].item() for position, token in enumerate(item.ids)]
                assert item.token_scores == pytest.approx(expected, abs=1e-4)


def test_an_exact_stop_never_finds_less_than_fairseqs() -> None:
    better = 0
    for seed, lenpen in product(range(6), (0.0, 1.0, 2.0)):
        model = make("transformer", 30 + seed, target_size=12)
        settings = {"beam": 3, "lenpen": lenpen, "max_len_b": 8}
        pairs = zip(
            run(model, SOURCES, **settings), run(model, SOURCES, **settings, stop="exact"), strict=True
        )
        for early, late in pairs:
            assert late[0].score >= early[0].score - 1e-5
            better += late[0].score > early[0].score + 1e-5
    assert better > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"beam": 3, "stop": "fairseq"},
        {"beam": 3, "stop": "exact"},
        {"beam": 1},
        {"sampling": True, "nbest": 2},
    ],
    ids=str,
)
def test_what_is_not_a_number_is_no_output(settings: dict[str, Any]) -> None:
    model = make("transformer", 31, target_size=12)
    with torch.no_grad():
        model.output.weight.fill_(float("nan"))
    request = Request([*range(len(SOURCES))])
    assert search(model, pad_sequences(SOURCES), config(**settings), request) == [[] for _ in SOURCES]


@pytest.mark.parametrize("size", [1, 5, 63, 64, 200, 512, 513, 576, 700])
def test_best_columns_are_those_of_a_plain_max(size: int) -> None:
    torch.manual_seed(size)
    scores = torch.randn(50, size)
    scores[torch.rand_like(scores) < 0.3] = float("-inf")
    scores[:, size // 2] = 0  # one may come
    best, columns = best_columns(scores.clone())
    assert best.tolist() == [max(row) for row in scores.tolist()]
    assert best.tolist() == scores.gather(1, columns[:, None])[:, 0].tolist()


@pytest.mark.parametrize("size", [5, 63, 64, 65, 128, 200])
@pytest.mark.parametrize("beam", [1, 5])
def test_top_candidates_are_those_of_a_plain_topk(size: int, beam: int) -> None:
    torch.manual_seed(size)
    for forbidden in (0.0, 0.3):
        scores = torch.randn(4, beam, size)
        offsets = torch.randn(4, beam)
        scores[torch.rand_like(scores) < forbidden] = float("-inf")
        offsets[1, 1:] = float("-inf")
        offsets[2] = float("-inf")  # a sentence that is done but still in the batch
        total = scores + offsets[..., None]
        for count in (2, 4, 10):
            finite = total.isfinite().flatten(1).sum(1)
            values, hypotheses, tokens = top_candidates(scores.clone(), offsets, count)
            assert values.shape == hypotheses.shape == tokens.shape == (4, count)
            expected = total.flatten(1).topk(min(count, size * beam)).values
            for row in range(4):
                real = min(count, int(finite[row]))
                torch.testing.assert_close(values[row, :real], expected[row, :real])
                assert torch.isneginf(values[row, real:]).all()
                torch.testing.assert_close(
                    total[row, hypotheses[row, :real], tokens[row, :real]], expected[row, :real]
                )
                places = list(zip(hypotheses[row, :real].tolist(), tokens[row, :real].tolist(), strict=True))
                assert len(set(places)) == real
            # What fills up the rest is fed to the model like the others, so it must be a token too.
            assert int(tokens.max()) < size
            assert int(hypotheses.max()) < beam


def test_a_batch_of_different_lengths_ends_sentence_by_sentence() -> None:
    """Sentences leave the batch when they are done: fewer rows are computed than sentences × steps."""
    model = make("transformer", 8, target_size=15)
    rows: list[int] = []
    step = model.step

    def counted(tokens: torch.Tensor, memory: Any, state: Any) -> Any:
        rows.append(tokens.size(0))
        return step(tokens, memory, state)

    model.step = counted  # type: ignore[method-assign]
    search(
        model,
        random_tokens(list(range(1, 13)), SOURCE_SIZE, seed=3),
        config(beam=2, max_len_a=1, max_len_b=1),
    )
    assert rows[0] == 12
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < 12
