"""`--retain-dropout`: dropout as in training, drawn as a function of seed and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from toys import BAHDANAU, CONVOLUTIONAL, TRANSFORMER, Trainer, random_ids, reversed_pairs

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.generate import GenerateConfig
from s2scli.data.batch import Batch
from s2scli.generate import records_of
from s2scli.models.base import Model
from s2scli.nn.dropout import retained
from s2scli.record import Record
from s2scli.schema import build

FAMILIES = {
    "transformer": TRANSFORMER | {"model.decoder_layers": 2, "model.decoder_layerdrop": 0.9},
    "recurrent": BAHDANAU | {"model.encoder_layers": 2, "model.decoder_layers": 2},
    "convolutional": CONVOLUTIONAL,
}
SENTENCES = reversed_pairs(12, 8, seed=5)[0]

Answers = Callable[..., list[Record]]


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest, toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    trainer = Trainer(toy_data, tmp_path_factory.mktemp(request.param))
    trainer("run", **FAMILIES[request.param], max_update=30, **{"optimizer.lr": 0.02})
    return trainer.root / "run"


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    def answer(path: Path, lines: list[str], **settings: Any) -> list[Record]:
        (tmp_path / "input").write_text("".join(f"{line}\n" for line in lines))
        values = {"path": path, "input": tmp_path / "input", "device": "cpu", "max_len_b": 12, "threads": 1}
        return list(records_of(build(GenerateConfig, values | settings)))

    return answer


def scores(records: list[Record]) -> list[Any]:
    return [(record.text, [item.token_scores for item in record.hypotheses]) for record in records]


def test_a_line_is_drawn_by_itself(run: Path, answers: Answers) -> None:
    """Whatever is around it, and in whatever batches; another seed draws other numbers, and so does another line."""
    kept = {"retain_dropout": True, "beam": 3}
    whole = scores(answers(run, SENTENCES, **kept))
    assert scores(answers(run, SENTENCES, **kept)) == whole
    assert scores(answers(run, SENTENCES, **kept, batch_size=2, buffer_size=5)) == whole
    assert scores(answers(run, SENTENCES[:5], **kept)) == whole[:5]
    shards = [answers(run, SENTENCES, **kept, num_shards=2, shard_id=shard) for shard in range(2)]
    assert [*map(scores, shards)] == [whole[0::2], whole[1::2]]
    assert scores(answers(run, SENTENCES, **kept, seed=2)) != whole
    assert len({str(item) for item in scores(answers(run, [SENTENCES[0]] * 8, **kept))}) > 1
    plain = scores(answers(run, SENTENCES, beam=3))
    assert plain != whole
    # It is off again.
    assert scores(answers(run, SENTENCES, beam=3)) == plain


def test_references_are_scored_with_dropout_too(run: Path, answers: Answers, toy_data: Path) -> None:
    settings = {"data": toy_data, "score_reference": True, "retain_dropout": True, "input": Path("-")}
    one = scores(answers(run, [], **settings))
    assert one == scores(answers(run, [], **settings, batch_size=3))
    assert one != scores(answers(run, [], **settings, seed=3))


def forced_and_stepped(
    model: Model, source: list[int], target: list[int], samples: int, size: int
) -> tuple[torch.Tensor, ...]:
    """The scores of the tokens after a target, drawn so many times in batches, whole and step by step."""
    tokens, read = pad_sequences([source] * size), pad_sequences([target] * size)
    whole, stepped = [], []
    with torch.inference_mode(), retained([model]):
        for _ in range(samples // size):
            whole.append(model.output(model(Batch(tokens, read)))[:, -1].log_softmax(-1))
            memory = model.encode(tokens)
            state = model.start(memory)
            for token in [2, *target]:
                output = model.step(torch.full((size, 1), token), memory, state)
                state = output.state
            stepped.append(output.scores[:, 0].log_softmax(-1))
    return torch.cat(whole), torch.cat(stepped)


def test_steps_drop_as_whole_sequences_do(run: Path) -> None:
    """Mean and spread of many draws are the same both ways, and the spread is not zero."""
    path = run / "checkpoint_last.safetensors"
    checkpoint = load_checkpoint(path)
    model = restore_model(checkpoint, path)
    # Layers are dropped for a whole batch: there, each draw is a batch of its own.
    size = 1 if checkpoint.config["model"].get("decoder_layerdrop") else 50
    source, target = random_ids([5, 3], 16, seed=3)
    torch.manual_seed(4)
    whole, stepped = forced_and_stepped(model, source, target, samples=600, size=size)
    spread = whole.std(0)
    assert spread.max() > 0.01
    # Of the difference of two means of 600 draws, five standard deviations.
    assert ((whole.mean(0) - stepped.mean(0)).abs() < 5 * spread * (2 / 600) ** 0.5 + 1e-6).all()
    assert (stepped.std(0) / spread - 1).abs().max() < 0.35
