"""Between text and search: windows, batches, and records in order."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import EOS
from toys import random_ids, random_model, small_transformer

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.data.source_form import SourceForm
from s2scli.inference.encoders import encoder_of
from s2scli.inference.lines import Line
from s2scli.inference.torch_engine import TorchEngine
from s2scli.inference.translator import Translator
from s2scli.models.base import Model
from s2scli.search.decoding import search
from s2scli.search.queue import SentenceBatch, SentenceQueue
from s2scli.text.character import CharacterTokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

WORDS = WordTokenizer(Vocabulary(["a", "b", "c", "d", "e"], [5, 4, 3, 2, 1]))
SIZE = len(WORDS)


def lines_of(lengths: list[int]) -> list[Line]:
    texts = [" ".join("abcde"[token - 4] for token in ids) for ids in random_ids(lengths, SIZE, seed=1)]
    return [Line(number, text) for number, text in enumerate(texts)]


def translator(model: Model | None = None, **settings: Any) -> Translator:
    model = model or random_model(small_transformer(), SIZE, SIZE)
    values: dict[str, Any] = {
        "engine": TorchEngine(model, torch.device("cpu")),
        "tokenizers": {"source": WORDS, "target": WORDS},
        "limits": {"max_source_length": 0, "on_long": "truncate"},
        "search": SearchConfig(beam=2, max_len_b=4),
        "batch_size": 4,
        "max_tokens": 30,
    }
    return Translator(**values | settings)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Tokens]:
    seen: list[Tokens] = []
    take = SentenceQueue.take

    def noting(waiting: SentenceQueue) -> SentenceBatch | None:
        group = take(waiting)
        if group is not None:
            seen.append(group.source)
        return group

    monkeypatch.setattr(SentenceQueue, "take", noting)
    return seen


LENGTHS = [3, 9, 1, 0, 5, 5, 2, 8, 40, 1, 4, 0, 6]


def test_batches_keep_to_their_limits_and_hold_similar_lengths(batches: list[Tokens]) -> None:
    records = list(translator().translate(lines_of(LENGTHS), window=100))
    assert [record.id for record in records] == list(range(len(LENGTHS)))
    assert sum(batch.ids.size(0) for batch in batches) == len([length for length in LENGTHS if length])
    for batch in batches:
        assert batch.ids.size(0) <= 4
        assert batch.ids.numel() <= 30 or batch.ids.size(0) == 1
    seen = [length - 1 for batch in batches for length in batch.lengths.tolist()]
    assert seen == sorted((length for length in LENGTHS if length), reverse=True)


def test_a_window_is_all_that_is_read_ahead(batches: list[Tokens]) -> None:
    read: list[int] = []

    def stream() -> Iterator[Line]:
        for line in lines_of(LENGTHS):
            read.append(line.id)
            yield line

    records = translator().translate(stream(), window=4)
    assert not read
    for number, record in enumerate(records):
        assert record.id == number
        assert len(read) == min(len(LENGTHS), 4 * (number // 4 + 1))
    assert list(translator().translate([], window=3)) == []
    assert batches


@pytest.mark.parametrize("window", [1, 2, 5, 100])
def test_the_window_changes_nothing(window: int) -> None:
    chosen = translator()
    expected = [next(iter(chosen.translate([line], window=1))) for line in lines_of(LENGTHS)]
    got = list(chosen.translate(lines_of(LENGTHS), window=window))
    assert [record.text for record in got] == [record.text for record in expected]
    assert [len(record.hypotheses) for record in got] == [1 if length else 0 for length in LENGTHS]


def test_a_record_says_what_the_search_said() -> None:
    model = random_model(small_transformer(), SIZE, SIZE)
    chosen = translator(model, search=SearchConfig(beam=3, nbest=2, max_len_b=5))
    (record,) = chosen.translate([Line(7, "a b unknown", "the reference")], window=1)
    ids = WORDS.encode("a b unknown")
    assert ids[2] == 3
    ((best, second),) = search(model, Tokens(torch.tensor([[*ids, EOS]]), torch.tensor([4])), chosen.search)
    assert (record.id, record.source, record.reference) == (7, "a b unknown", "the reference")
    for hypothesis, output in zip(record.hypotheses, (best, second), strict=True):
        assert hypothesis.tokens == WORDS.pieces(output.ids)
        assert hypothesis.text == " ".join(hypothesis.tokens[:-1])
        assert hypothesis.token_scores == output.token_scores
        assert hypothesis.score == output.score
    assert record.text == record.hypotheses[0].text


def test_an_output_is_one_line() -> None:
    """A character model that has learned line feeds does not break the stream."""
    tokenizer = CharacterTokenizer(Vocabulary(["\n", "x"], [1, 1]))
    # Sure of little, so that every symbol comes up somewhere.
    model = random_model(small_transformer(), SIZE, len(tokenizer), spread=0.1)
    with torch.no_grad():
        model.output.weight *= 0.1
    chosen = translator(model=model, tokenizers={"source": WORDS, "target": tokenizer})
    records = list(chosen.translate(lines_of(LENGTHS), window=100))
    assert any("\n" in record.hypotheses[0].tokens for record in records if record.hypotheses)
    assert not any("\n" in record.text for record in records)


def test_the_toy_runs_answer_in_references_order(toy_runs: Path, toy_data: Path) -> None:
    """References travel with their lines through sorting by length."""
    from s2scli.checkpoint import load_checkpoint, restore_model
    from s2scli.data.dataset import Dataset

    path = toy_runs / "recurrent/checkpoint_best.safetensors"
    checkpoint = load_checkpoint(path)
    split = Dataset.open(toy_data).split("valid")
    chosen = translator(model=restore_model(checkpoint, path), tokenizers=checkpoint.tokenizers)
    lines = [Line(n, split.text("source", n), split.text("target", n)) for n in range(len(split))]
    for record in chosen.translate(lines, window=10):
        assert record.reference == " ".join(reversed(record.source.split()))
        assert record.source == split.text("source", record.id)


@pytest.mark.parametrize(
    ("limit", "positions", "longest"), [(0, 0, None), (7, 0, 7), (0, 12, 11), (7, 12, 7), (30, 12, 11)]
)
def test_the_longest_source(limit: int, positions: int, longest: int | None) -> None:
    """The dataset's limit and the model's positions, one of which is for the end symbol."""
    learned: dict[str, Any] = {"positions": "learned", "max_source_positions": positions} if positions else {}
    model = random_model(small_transformer(**learned), SIZE, SIZE)
    limits = {"max_source_length": limit, "on_long": "skip"}
    engine = TorchEngine(model, torch.device("cpu"))
    encoder = encoder_of(engine, {"source": WORDS, "target": WORDS}, limits, SourceForm())
    assert encoder.longest == longest


def test_lines_that_are_too_long_are_not_kept() -> None:
    """A server that refuses one long line after another has the memory that it had."""
    engine = TorchEngine(random_model(small_transformer(), SIZE, SIZE), torch.device("cpu"))
    limits = {"max_source_length": 10, "on_long": "error"}
    encoder = encoder_of(engine, {"source": WORDS, "target": WORDS}, limits, SourceForm())
    tracemalloc.start()
    try:
        for number in range(30):
            assert encoder.num_tokens("a b c " * 3000 + "d " * number) == 9000 + number
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 400_000
