"""fairseq's own output, line by line, from weights that fairseq has trained; see ../shared/peers/model_A/README.md."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import pytest
from fairseq_model import load_fairseq_model
from fairseq_symbols import EOS, pad_sequences
from safetensors.torch import load_file

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Model
from s2scli.search.decoding import search
from s2scli.search.request import ScoredOutput
from s2scli.text.vocabulary import Vocabulary

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODEL = SHARED / "peers/model_A"
TEXT = SHARED / "data/multi30k/test_2016_flickr.en"
LINES = 100

pytestmark = pytest.mark.skipif(
    not (MODEL.is_dir() and TEXT.is_file()),
    reason=f"needs {MODEL} and {TEXT}, which are not part of this repository",
)


def first_lines(path: Path, number: int) -> list[str]:
    with path.open(encoding="utf-8") as stream:
        return [line.rstrip("\n") for line in islice(stream, number)]


@pytest.fixture(scope="module")
def model_a() -> tuple[Model, Vocabulary]:
    model, tokenizer, _ = load_fairseq_model(MODEL)
    return model, tokenizer.vocabulary


def translate(
    model: Model, vocabulary: Vocabulary, lines: list[str], beam: int
) -> tuple[list[str], list[ScoredOutput]]:
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(MODEL / "spm.model"))
    ids = [[vocabulary.lookup(piece) for piece in pieces.encode(line, out_type=str)] for line in lines]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    found: dict[int, ScoredOutput] = {}
    for start in range(0, len(order), 50):
        chosen = order[start : start + 50]
        outputs = search(
            model, pad_sequences([ids[index] for index in chosen]), SearchConfig(beam=beam, stop="fairseq")
        )
        found |= {index: items[0] for index, items in zip(chosen, outputs, strict=True)}
    best = [found[index] for index in range(len(lines))]
    texts = [
        pieces.decode([vocabulary.symbols[token] for token in item.ids if token != EOS]) for item in best
    ]
    return texts, best


@pytest.mark.parametrize("number", [LINES, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("beam", [1, 5])
def test_the_translations_are_fairseqs(model_a: tuple[Model, Vocabulary], beam: int, number: int) -> None:
    texts, outputs = translate(*model_a, first_lines(TEXT, number), beam)
    expected = first_lines(MODEL / f"test_2016_flickr.beam{beam}.de", number)
    scores = [float(line) for line in first_lines(MODEL / f"test_2016_flickr.beam{beam}.scores", number)]
    different = [index for index in range(number) if texts[index] != expected[index]]
    assert len(different) <= 1, [(texts[index], expected[index]) for index in different]
    for index in set(range(number)) - set(different):
        # fairseq prints them to base 2.
        assert outputs[index].score / math.log(2) == pytest.approx(scores[index], abs=2e-5), index


def test_the_weights_are_fairseqs_own(model_a: tuple[Model, Vocabulary]) -> None:
    """Every tensor of the file is in the model, whole and only once, so that no default stands in for one."""
    model, _ = model_a
    theirs = sum(tensor.numel() for tensor in load_file(MODEL / "model.safetensors").values())
    assert sum(parameter.numel() for parameter in model.parameters()) == theirs
    table = model.get_submodule("encoder_embedder.positions")(0, 50)
    # README: positions count from 2, all sines, then all cosines, frequency i = 10000^(-i/63).
    for position, column in [(0, 0), (0, 64), (5, 3), (40, 63), (40, 127)]:
        angle = (position + 2) * 10000 ** (-(column % 64) / 63)
        expected = math.sin(angle) if column < 64 else math.cos(angle)
        assert table[position, column].item() == pytest.approx(expected, abs=1e-5)
