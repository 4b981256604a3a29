"""The output that is most like all others, against sacrebleu, pair by pair."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import sacrebleu
import torch
from toys import random_ids, random_model, small_transformer

from s2scli.components import METRICS
from s2scli.configs.search import SearchConfig
from s2scli.errors import UsageError
from s2scli.inference.lines import Line
from s2scli.inference.mbr import expected_utilities
from s2scli.inference.torch_engine import TorchEngine
from s2scli.inference.translator import Translator
from s2scli.schema import build
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

PLAIN = {"chrf": sacrebleu.sentence_chrf, "bleu": sacrebleu.sentence_bleu}
CANDIDATES = [
    "a cat sat down",
    "the cat sat down",
    "the cat sat",
    "a dog",
    "the cat sat down",
    "",
    "Two  dogs.",
]


def word_error_rate(output: str, reference: str) -> float:
    """In percent: the least edits, by the table of Wagner and Fischer 1974, of the words of the reference."""
    found, wanted = output.split(), reference.split()
    before = [*range(len(wanted) + 1)]
    for row, word in enumerate(found, 1):
        now = [row]
        for column, other in enumerate(wanted, 1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (word != other)))
        before = now
    return 100 * before[-1] / max(1, len(wanted))


@pytest.mark.parametrize("name", PLAIN)
def test_utilities_are_means_over_pairs(name: str) -> None:
    found = expected_utilities(CANDIDATES, METRICS[name]())
    expected = [
        sum(PLAIN[name](one, [other]).score for other in CANDIDATES) / len(CANDIDATES) for one in CANDIDATES
    ]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("settings", [{"sampling": True}, {"beam": 3}])
def test_the_best_of_the_candidates_is_taken(settings: dict[str, Any]) -> None:
    words = Vocabulary([f"w{number}" for number in range(26)], [1] * 26)
    tokenizers: dict[str, Tokenizer] = dict.fromkeys(("source", "target"), WordTokenizer(words))
    model = random_model(small_transformer(), 30, 30, seed=3, spread=0.4)

    def records(**more: Any) -> list[Any]:
        translator = Translator(
            engine=TorchEngine(model, torch.device("cpu")),
            tokenizers=tokenizers,
            limits={"max_source_length": 0, "on_long": "truncate"},
            search=build(SearchConfig, {**settings, "max_len_b": 6, **more}),
            batch_size=3,
            max_tokens=100,
        )
        lines = [
            Line(number, " ".join(words.symbols[token] for token in ids))
            for number, ids in enumerate(random_ids([3, 5, 2, 4, 0, 6], 30, seed=2))
        ]
        return list(translator.translate(lines, window=100))

    candidates = records(nbest=8, beam=8)
    for name, plain in PLAIN.items():
        for record, all_of in zip(records(mbr=name, mbr_candidates=8, nbest=2), candidates, strict=True):
            texts = [item.text for item in all_of.hypotheses]
            means = [sum(plain(one, [other]).score for other in texts) / 8 for one in texts]
            assert [item.score for item in record.hypotheses] == pytest.approx(
                sorted(means, reverse=True)[:2]
            )
            if texts:
                assert means[texts.index(record.text)] == pytest.approx(max(means))
    # Errors count as what they leave of 100: the fewest edits win.
    for record, all_of in zip(records(mbr="wer", mbr_candidates=8), candidates, strict=True):
        texts = [item.text for item in all_of.hypotheses]
        rates = [statistics.mean(word_error_rate(one, other) for other in texts) for one in texts]
        if texts:
            assert record.hypotheses[0].score == pytest.approx(100 - min(rates))
            assert rates[texts.index(record.text)] == pytest.approx(min(rates))
    with pytest.raises(UsageError, match="--mbr copy_rate: reads outputs and sources, and one is wanted"):
        records(mbr="copy_rate", mbr_candidates=8)
    with pytest.raises(UsageError, match="--nbest 9 needs as many --mbr-candidates"):
        records(mbr="chrf", mbr_candidates=8, nbest=9)
