"""--compile: the same numbers, a few kernels for all lengths, and one clear line where it cannot be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import Tensor
from toys import (
    BAHDANAU,
    TRANSFORMER,
    Trainer,
    assert_same_run,
    frame_columns,
    random_ids,
    random_model,
    random_model_of,
    small_convolutional,
    small_transformer,
    text_columns,
)

from s2scli.configs.model import ModelConfig
from s2scli.configs.objectives import LabelSmoothedCrossEntropyConfig
from s2scli.data.batch import Batch, Frames
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.nn.runtime import compile_blocks
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy

# Torch's own warnings about itself, on importing its compiler and on using it.
pytestmark = pytest.mark.filterwarnings("ignore")

V = 23
WITHOUT_DROPOUT = (
    TRANSFORMER | {key: 0.0 for key in TRANSFORMER if key.endswith("dropout")} | {"model.dropout": 0.0}
)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What compiling sets for the whole process is set back, and what it has made is forgotten."""
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor
    from torch.fx.experimental import _config as shapes

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    kept = [(dynamo, "recompile_limit"), (inductor.cpp, "cxx"), (shapes, "use_duck_shape")]
    kept += [(inductor, name) for name in ("fallback_random", "compile_threads")]
    before = [getattr(module, name) for module, name in kept]
    inductor.compile_threads = 1
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()
    for (module, name), value in zip(kept, before, strict=True):
        setattr(module, name, value)


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def breaks() -> int:
    return sum(torch._dynamo.utils.counters["graph_break"].values())


def gradients(model: Model, batch: Batch) -> dict[str, Tensor]:
    objective = LabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyConfig(label_smoothing=0.1), model)
    sums = objective(batch, 1)
    found = torch.autograd.grad(sums.loss, list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    return {"loss": sums.loss.detach(), "nll": sums.nll.detach(), **dict(zip(names, found, strict=True))}


# Rows, and the lengths of source and target: some that are alike, the shortest there are, one sentence alone.
SHAPES = [(5, 9, 7), (7, 7, 7), (4, 4, 9), (16, 12, 11), (8, 3, 8), (2, 24, 16), (6, 10, 13)]


def batches(shapes: list[tuple[int, int, int]], features: int = 0) -> Iterator[Batch]:
    """Batches of these shapes; features: how many a frame has where sources are no text."""
    for number, (rows, source, target) in enumerate(shapes):
        source_ids, target_ids = (
            random_ids([max(0, length - 1 - row % 3) for row in range(rows)], V, number)
            for length in (source, target)
        )
        read = random_frames(source_ids, features, number) if features else pad_sequences(source_ids)
        yield Batch(read, pad_sequences(target_ids))


def random_frames(sequences: list[list[int]], features: int, seed: int) -> Frames:
    """Frames for sequences, four for each item, and one."""
    lengths = torch.tensor([4 * len(sequence) + 1 for sequence in sequences])
    frames = torch.randn(
        len(sequences), int(lengths.max()), features, generator=torch.Generator().manual_seed(seed)
    )
    return Frames(frames * (torch.arange(frames.size(1)) < lengths[:, None])[..., None], lengths)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"encoder_normalize_before": True, "decoder_normalize_before": True, "activation_fn": "swiglu"}],
    ids=["post-norm", "pre-norm"],
)
def test_compiled_layers_give_the_same_numbers_for_all_shapes(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    config = small_transformer(**settings)
    plain, compiled = (random_model(config, V, V).train() for _ in range(2))
    compile_blocks(compiled.blocks())
    shapes = [*SHAPES, (1, 6, 4)]
    for number, batch in enumerate(batches(shapes)):
        wanted, found = gradients(plain, batch), gradients(compiled, batch)
        for name, tensor in wanted.items():
            size = 1 + float(tensor.abs().max())
            torch.testing.assert_close(
                found[name] / size, tensor / size, rtol=0, atol=1e-5, msg=f"{name} of {number}"
            )
    # For each kind of layer, and again for batches of one sentence.
    assert graphs() == 4
    assert not breaks()
    before = graphs()
    for batch in batches(shapes):
        gradients(compiled, batch)
    assert graphs() == before
    assert "recompile_limit" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "has_loop", "features"),
    [
        (small_transformer(attention_window=8, global_tokens=1), False, 0),
        (
            small_transformer(positions="rotary", norm="rms", activation_fn="geglu_new", linear_bias=False),
            False,
            0,
        ),
        (small_transformer(positions="relative", decoder_sublayer="ssru"), True, 0),
        (small_convolutional(), False, 0),
        (small_transformer(conv_channels=8), False, 5),
    ],
    ids=["window", "rotary", "ssru", "convolutional", "frames"],
)
def test_other_layers_compile_too(
    config: ModelConfig, has_loop: bool, features: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In one piece, unless they have a loop, around which each is compiled."""
    columns = frame_columns(features, V) if features else text_columns(V, V)
    plain, compiled = (random_model_of(config, columns).train() for _ in range(2))
    compile_blocks(compiled.blocks())
    for number, batch in enumerate(batches(SHAPES, features)):
        wanted, found = gradients(plain, batch), gradients(compiled, batch)
        for name, tensor in wanted.items():
            size = 1 + float(tensor.abs().max())
            torch.testing.assert_close(
                found[name] / size, tensor / size, rtol=0, atol=1e-5, msg=f"{name} of {number}"
            )
    before = graphs()
    for batch in batches(SHAPES, features):
        gradients(compiled, batch)
    assert graphs() == before
    assert bool(breaks()) == has_loop
    assert "recompile_limit" not in caplog.text


@pytest.mark.slow
def test_modes_do_not_recompile_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """Training, validation and translation in turns, with dropout; each has its kernels, and keeps them."""
    caplog.set_level(logging.WARNING)
    model = random_model(small_transformer(dropout=0.2, attention_dropout=0.1, activation_dropout=0.1), V, V)
    compile_blocks(model.blocks())
    counts = []
    for _ in range(3):
        for batch in batches(SHAPES):
            gradients(model.train(), batch)
        model.eval()
        for batch in batches(SHAPES):
            with torch.no_grad():
                model(batch)
            with torch.inference_mode():
                model.encode(batch.source)
        counts.append(graphs())
    assert counts[0] == 5
    assert all(one == other for one, other in pairwise(counts))
    assert not breaks()
    assert "recompile_limit" not in caplog.text


@pytest.mark.slow
def test_runs(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    """A run learns as it does without, goes on exactly, and validation translates as it does without."""
    # Adam makes much of the last digits where gradients are almost zero.
    sgd = {"optimizer.name": "sgd", "optimizer.lr": 0.2, "lr_scheduler.name": "fixed"}
    settings = WITHOUT_DROPOUT | sgd | {"eval_metrics": "chrf", "eval_samples": 1}
    trained("plain", **settings, max_epoch=2)
    trained("whole", **settings, compile=True, max_epoch=2)
    trained("parts", **settings, compile=True, max_update=13)
    trained("parts", **settings, compile=True, max_epoch=2)
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))
    for plain, whole in zip(trained.events("plain", "valid"), trained.events("whole", "valid"), strict=True):
        assert whole == pytest.approx(plain, abs=2e-4)
    # The weights have the names that they have without, and the run may go on without.
    plain, whole = trained.checkpoint("plain"), trained.checkpoint("whole")
    assert plain.weights.keys() == whole.weights.keys()
    for name, tensor in plain.weights.items():
        torch.testing.assert_close(whole.weights[name], tensor, rtol=0, atol=1e-5)
    capsys.readouterr()
    trained("whole", **settings, max_epoch=3)
    assert "resuming with compile = True before, False now" in capsys.readouterr().err


@pytest.mark.slow
def test_dropout_draws_from_the_seed(trained: Trainer) -> None:
    """Going on is exact with dropout too, and another seed is another run."""
    for name, seed, ends in (("whole", 1, [6]), ("parts", 1, [3, 6]), ("other", 2, [6])):
        for end in ends:
            trained(name, **TRANSFORMER, compile=True, seed=seed, max_update=end)
    whole = trained.checkpoint("whole")
    assert_same_run(trained.checkpoint("parts"), whole)
    assert any(
        not torch.equal(whole.weights[name], item)
        for name, item in trained.checkpoint("other").weights.items()
    )
    assert not breaks()


def test_a_model_without_layers_to_compile(trained: Trainer) -> None:
    with pytest.raises(
        UsageError, match=r"^--compile: this model has no layers to compile, as a recurrent one"
    ) as raised:
        trained("run", **BAHDANAU, compile=True)
    assert "\n" not in str(raised.value)
    assert not (trained.root / "run").exists()


@pytest.mark.parametrize(
    ("cxx", "problem"), [(None, "none is on the PATH"), ("nocc", "CXX=nocc is not on the PATH")]
)
def test_no_compiler(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cxx: str | None, problem: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    if cxx:
        monkeypatch.setenv("CXX", cxx)
    with pytest.raises(
        UsageError, match=f"--compile needs a C\\+\\+ compiler here, and {problem}; install"
    ) as raised:
        trained("run", **TRANSFORMER, compile=True)
    assert "\n" not in str(raised.value)
    assert not (trained.root / "run").exists()
