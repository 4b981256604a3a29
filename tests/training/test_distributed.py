"""Several processes train as one does: torchrun's, on this machine, over gloo.

Each test starts real processes; what is compared are the files that they leave.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import BAHDANAU, CONVOLUTIONAL, TRANSFORMER, Trainer, write_dataset

from s2scli.checkpoint import Checkpoint
from s2scli.configs.optimizers import AdafactorConfig
from s2scli.errors import UsageError
from s2scli.schema import to_toml
from s2scli.training import micro_batch

PROCESSES = 2
COMMON: dict[str, Any] = {"max_update": 20, "keep_last_epochs": 1, "eval_metrics": "chrf"}
FAMILIES = {"transformer": TRANSFORMER, "recurrent": BAHDANAU, "convolutional": CONVOLUTIONAL}
SLOW = pytest.mark.slow  # each start of two processes takes seconds


def config_file(trained: Trainer, name: str, settings: dict[str, Any]) -> Path:
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        section, dot, inner = key.partition(".")
        if dot:
            nested.setdefault(section, {})[inner] = value
        else:
            nested[section] = value
    path = trained.root / f"{name}.toml"
    path.write_text(to_toml(nested), encoding="utf-8")
    return path


def start(
    trained: Trainer, name: str, settings: dict[str, Any], *torchrun: str, program: str = "-m s2scli train"
) -> subprocess.Popen[str]:
    """Start torchrun with two processes of `s2s train`, or of another program with the same arguments."""
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={PROCESSES}",
        "--standalone",
    ]
    words += [*torchrun, *program.split(), str(trained.data)]
    words += ["--config", str(config_file(trained, name, settings)), "--save-dir", str(trained.root / name)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def together(trained: Trainer, name: str, settings: dict[str, Any], *torchrun: str, **options: Any) -> str:
    """Run to the end; returns what was said."""
    process = start(trained, name, settings, *torchrun, **options)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def without_key_biases(name: str, tensor: Tensor) -> Tensor:
    """The tensor without the part whose gradient is zero but for rounding, which Adam blows up to its full rate.

    A bias of the keys adds the same to a query's score at every position, so it changes no attention weight.
    """
    if not name.endswith(("qkv.bias", "key_value.bias")):
        return tensor
    parts = list(tensor.chunk(3 if "qkv" in name else 2))
    parts[1 if "qkv" in name else 0] = torch.zeros_like(parts[0])
    return torch.cat(parts)


def assert_close(one: Checkpoint, other: Checkpoint, tolerance: float) -> None:
    for mine, others in (
        (one.weights, other.weights),
        (one.ema, other.ema),
        (one.objective, other.objective),
    ):
        assert mine.keys() == others.keys()
        for name, tensor in mine.items():
            found, wanted = (without_key_biases(name, item) for item in (tensor, others[name]))
            torch.testing.assert_close(
                found, wanted, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )
    assert one.optimizer.keys() == other.optimizer.keys()
    assert {k: v.shape for k, v in one.optimizer.items()} == {k: v.shape for k, v in other.optimizer.items()}


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    "family", ["transformer", *(pytest.param(name, marks=SLOW) for name in ("recurrent", "convolutional"))]
)
def test_two_processes_are_one_with_two_batches_an_update(trained: Trainer, kind: str, family: str) -> None:
    """With dropout; nine batches an epoch, so that the last update of each has one batch for two processes."""
    settings = FAMILIES[family] | COMMON | {"ema_decay": 0.9}
    trained("alone", **settings | {"update_freq": 2})
    said = together(trained, "two", settings | {"distributed": kind})
    for file in ("checkpoint_last", "checkpoint_best", "checkpoint4"):
        assert_close(trained.checkpoint("two", file), trained.checkpoint("alone", file), 1e-5)
    assert trained.checkpoint("two").run["update"] == 20
    for kind_of_event in ("train", "valid"):
        alone, two = (trained.events(name, kind_of_event) for name in ("alone", "two"))
        assert len(alone) == len(two)
        for one, other in zip(alone, two, strict=True):
            assert one.keys() == other.keys()
            for figure in one.keys() - {"event", "seconds", "seconds_left", "tokens_per_s"}:
                assert one[figure] == pytest.approx(other[figure], rel=2e-3, abs=1e-6), (one, other)
    # One process speaks for both.
    assert said.count("done after 20 updates") == 1
    assert said.count("valid:") == len(trained.events("two", "valid"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_activations_are_computed_anew_and_layers_skipped_as_by_one(trained: Trainer, kind: str) -> None:
    """Each process skips layers of its own, of which DDP must not wait for the gradients; FSDP cannot."""
    settings = FAMILIES["transformer"] | COMMON | {"checkpoint_activations": True}
    dropping = {"model.encoder_layerdrop": 0.4, "model.decoder_layerdrop": 0.4}
    if kind == "ddp":
        settings = settings | dropping | {"model.encoder_layers": 3, "model.decoder_layers": 3}
    trained("alone", **settings | {"update_freq": 2})
    together(trained, "two", settings | {"distributed": kind})
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


SMALL_PIECES = """
import sys
from s2scli.cli.app import run
from s2scli.training import micro_batch

micro_batch._POSITIONS_ON_CPU = 40
sys.exit(run(["train", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("kind", [pytest.param("ddp", marks=SLOW), "fsdp"])
def test_batches_in_pieces_are_those_of_one_process(
    trained: Trainer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one process's batch there may be more pieces than of the other's; what an objective adds is trained too."""
    (trained.root / "pieces.py").write_text(SMALL_PIECES, encoding="utf-8")
    settings = TRANSFORMER | {"max_update": 9, "objective.encoder_loss": "reconstruction"}
    together(trained, "two", settings | {"distributed": kind}, program=str(trained.root / "pieces.py"))
    monkeypatch.setattr(micro_batch, "_POSITIONS_ON_CPU", 40)
    trained("alone", **settings | {"update_freq": 2})
    assert trained.checkpoint("two").objective
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=SLOW)])
def test_sampled_sentences_are_counted_over_all_processes(tmp_path: Path, kind: str) -> None:
    """Each process knows the lengths of its own batches only; the last update of an epoch has one for both."""
    data = write_dataset(tmp_path, tokenizer="sentencepiece", sentencepiece_model="bpe", vocab_size=40)
    trainer = Trainer(data, tmp_path)
    settings = TRANSFORMER | {
        "max_update": 10,
        "sampling.subword_sampling": "both",
        "sampling.bpe_dropout": 0.4,
        "sampling.word_dropout": 0.1,
    }
    trainer("alone", **settings | {"update_freq": 2})
    together(trainer, "two", settings | {"distributed": kind})
    assert_close(trainer.checkpoint("two"), trainer.checkpoint("alone"), 1e-5)
    for one, other in zip(*(trainer.events(name, "train") for name in ("alone", "two")), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


@SLOW
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_what_objectives_add_is_trained_too(trained: Trainer, kind: str) -> None:
    settings = TRANSFORMER | {
        "max_update": 5,
        "distributed": kind,
        "objective.encoder_loss": "reconstruction",
    }
    trained("alone", **settings | {"update_freq": 2})
    together(trained, "two", settings)
    assert trained.checkpoint("two").objective
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.parametrize("kind", [pytest.param("ddp", marks=SLOW), "fsdp"])
def test_outputs_drawn_in_training_are_those_of_one_process(trained: Trainer, kind: str) -> None:
    """Each process draws for its own sentences, as many steps as these take."""
    objective = {"name": "minimum_risk", "risk_samples": 4, "risk_alpha": 0.5, "risk_weight": 0.5}
    settings = TRANSFORMER | {"max_update": 5, "distributed": kind}
    settings |= {f"objective.{key}": value for key, value in objective.items()}
    trained("alone", **settings | {"update_freq": 2})
    together(trained, "two", settings)
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.parametrize("kind", [pytest.param("ddp", marks=SLOW), "fsdp"])
def test_a_run_goes_on_with_any_number_of_processes(trained: Trainer, kind: str) -> None:
    """Begun by two and ended by one, or the other way round: the batches are numbered over all of them."""
    settings = TRANSFORMER | {"distributed": kind, "ema_decay": 0.9, "max_update": 12}
    trained("whole", **settings | {"update_freq": 2})
    together(trained, "two then one", settings | {"max_update": 7})
    trained("two then one", **settings | {"update_freq": 2})
    trained("one then two", **settings | {"update_freq": 2, "max_update": 7})
    said = together(trained, "one then two", settings)
    assert "resuming at update 7" in said
    for name in ("two then one", "one then two"):
        assert_close(trained.checkpoint(name), trained.checkpoint("whole"), 1e-5)


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=SLOW)])
def test_a_killed_worker_is_started_again_and_goes_on(trained: Trainer, kind: str) -> None:
    """One of two dies; torchrun ends the other, starts both anew, and they go on from the last checkpoint."""
    settings = TRANSFORMER | {
        "distributed": kind,
        "max_update": 300,
        "save_interval_updates": 5,
        "patience": 0,
    }
    trained("whole", **settings | {"update_freq": 2, "save_interval_updates": 0})
    process = start(trained, "killed", settings, "--max-restarts=2", "--monitor-interval=0.1")
    log = trained.root / "killed/log.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 30):
        time.sleep(0.01)
    assert process.poll() is None
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "resuming at update" in errors
    result = trained.checkpoint("killed")
    assert result.run["update"] == 300
    assert_close(result, trained.checkpoint("whole"), 1e-3)


def workers(agent: int) -> list[int]:
    """The processes that torchrun has started, by Linux's account."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status.rpartition(")")[2].split()[1]) == agent and b"s2scli" in command:
            found.append(int(folder.name))
    return sorted(found)


def test_sigterm_to_torchrun_saves_one_state(trained: Trainer) -> None:
    """The processes are told at different moments, and stop after the same update."""
    settings = TRANSFORMER | {"patience": 0}
    process = start(trained, "stopped", settings)
    log = trained.root / "stopped/log.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 20):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=200)
    assert process.returncode != 0
    stopped = trained.checkpoint("stopped").run["update"]
    assert f"stopped at update {stopped}; " in errors
    assert "repeat the command to go on" in errors
    together(trained, "stopped", settings | {"max_update": stopped + 3})
    trained("whole", **settings | {"update_freq": 2, "max_update": stopped + 3})
    assert_close(trained.checkpoint("stopped"), trained.checkpoint("whole"), 1e-3)


SHORT_OF_MEMORY = r"""
import sys
import torch
from torch import distributed
from s2scli.cli.app import run
from s2scli.data.batch import Batch
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy

plain = LabelSmoothedCrossEntropy.forward
seen = {"whole": 0, "split": 0}

class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        raise torch.OutOfMemoryError("injected")

def forward(self, batch, update):
    loss = plain(self, batch, update)
    if self.training and distributed.get_rank() == 1 and batch.size()[0] > 120:
        seen["whole"] += 1
        return type(loss)(Fails.apply(loss.loss), loss.nll, loss.tokens)
    return loss

LabelSmoothedCrossEntropy.forward = forward
code = run(["train", *sys.argv[1:]])
# In one write: the other process may write at the same moment.
sys.stderr.write(f"shortages {seen['whole']}\n")
sys.exit(code)
"""


def test_a_shortage_in_one_process_splits_its_batches(trained: Trainer) -> None:
    """Under ddp, in the backward pass; without dropout the halves are the whole."""
    (trained.root / "short.py").write_text(SHORT_OF_MEMORY, encoding="utf-8")
    settings = TRANSFORMER | {"max_update": 9, "model.dropout": 0.0}
    settings |= {"model.attention_dropout": 0.0, "model.activation_dropout": 0.0}
    trained("alone", **settings | {"update_freq": 2})
    said = together(trained, "two", settings, program=str(trained.root / "short.py"))
    # Eight of the nine updates have a batch for the second process; most of its batches are too large.
    shortages = re.search(r"shortages ([1-9]\d*)", said)
    assert shortages is not None
    assert said.count("out of memory with") == 0, "the second process is silent"
    assert int(shortages[1]) >= 4
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


def test_a_shortage_under_fsdp_ends_all_processes(trained: Trainer) -> None:
    (trained.root / "short.py").write_text(SHORT_OF_MEMORY, encoding="utf-8")
    process = start(
        trained, "two", TRANSFORMER | {"distributed": "fsdp"}, program=str(trained.root / "short.py")
    )
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "s2s train: error: out of memory" in errors
    assert "smaller" in errors


def test_what_keeps_sums_over_whole_matrices_cannot_be_sharded() -> None:
    with pytest.raises(UsageError, match=r"--optimizer adafactor keeps sums .* use ddp"):
        AdafactorConfig().check_sharded()


@SLOW
def test_adafactor_cannot_be_sharded(trained: Trainer) -> None:
    settings = {key: value for key, value in TRANSFORMER.items() if key != "optimizer.betas"}
    settings |= {"distributed": "fsdp", "optimizer.name": "adafactor"}
    process = start(trained, "two", settings)
    _, errors = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "--optimizer adafactor" in errors
    assert "use ddp" in errors
