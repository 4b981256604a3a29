"""What the tests share: one thread, and a small dataset and runs that are made when first asked for."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Before torch is loaded, here and in the processes that tests start: small tensors gain nothing from threads,
# and sums do not depend on the machine.
os.environ["OMP_NUM_THREADS"] = "1"
# Who runs the tests in the background has Ctrl-C ignored, by all that they start too; some of them send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from generating import Generator
    from toys import Trainer

# The files that take longest: begun last, one of them would be all that is left to run. The commands of other chapters
# begin with what the first makes, and so are a while after it.
LONGEST = (
    "test_training_commands.py",
    "test_distributed.py",
    "test_torchrun.py",
    "test_generating_commands.py",
    "test_soak.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; all else stays in its order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks() -> Iterator[None]:
    """Have nothing of these processes wait until a disk has it, which takes longer than many a test."""

    def fsync(descriptor: int) -> None:
        os.fstat(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of made-up sentences, the target being the source backwards; one vocabulary for both sides."""
    from toys import write_dataset

    return write_dataset(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy_export(toy_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Transformer of the toy runs as `s2s export` writes it for CTranslate2."""
    pytest.importorskip("ctranslate2")
    from s2scli.configs.export import ExportConfig
    from s2scli.export import export

    folder = tmp_path_factory.mktemp("exports") / "transformer"
    export(ExportConfig(path=toy_runs / "transformer", to="ctranslate2", out=folder, compare_lines=0))
    return folder


@pytest.fixture(scope="session")
def toy_runs(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs on the toy data, one of each family, that have learned a little."""
    from toys import BAHDANAU, CONVOLUTIONAL, TRANSFORMER, Trainer

    trainer = Trainer(toy_data, tmp_path_factory.mktemp("runs"))
    quick = {"optimizer.lr": 0.02, "model.dropout": 0.0, "log_interval": 100, "keep_last_epochs": 3}
    trainer("transformer", **TRANSFORMER | quick, max_epoch=12)
    trainer("recurrent", **BAHDANAU | quick, max_epoch=12)
    trainer("convolutional", **CONVOLUTIONAL | quick, max_epoch=12)
    return trainer.root


@pytest.fixture(scope="session")
def other_runs(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs on the toy data, and the datasets they are of.

    "lm": of the targets, over the vocabulary of the toy data; "right_to_left"; "reverse": from target to source, its
    vocabularies being letters.
    """
    from toys import LANGUAGE_MODEL, TRANSFORMER, Trainer, preprocess_toys

    root = tmp_path_factory.mktemp("others")
    texts = toy_data.parent
    mono = {"only_target": True, "vocab_from": toy_data, "tokenizer": "sentencepiece"}
    datasets = {
        "lm": preprocess_toys(texts, root / "lm_data", target_lang="bb", **mono),
        "right_to_left": toy_data,
        "reverse": preprocess_toys(
            texts, root / "reverse_data", source_lang="bb", target_lang="aa", tokenizer="character"
        ),
    }
    quick = {"optimizer.lr": 0.02, "model.dropout": 0.0, "log_interval": 100, "max_epoch": 6}
    for name, data in datasets.items():
        settings = LANGUAGE_MODEL if name == "lm" else TRANSFORMER
        Trainer(data, root)(name, **settings | quick, right_to_left=name == "right_to_left")
    return root


@pytest.fixture
def trained(toy_data: Path, tmp_path: Path) -> Trainer:
    """Call it with a name and settings to train on the toy data in a folder of that name."""
    from toys import Trainer

    return Trainer(toy_data, tmp_path)


@pytest.fixture
def spoken(speech: Path, tmp_path: Path) -> Trainer:
    """Call it with a name and settings to train on tone words in a folder of that name."""
    from toys import Trainer

    return Trainer(speech / "data", tmp_path)


@pytest.fixture(scope="session")
def loaded_s2s() -> Iterator[Path]:
    """A program that is called like `s2s`, and runs a command in a process that has torch loaded already."""
    from loaded_commands import loaded_commands

    with loaded_commands() as folder:
        yield folder / "s2s"


@pytest.fixture
def loaded_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers that would be spawned forked from a process that has torch loaded already."""
    from loaded import forked

    context, plain = forked(), multiprocessing.get_context
    monkeypatch.setattr(
        multiprocessing, "get_context", lambda kind=None: context if kind == "spawn" else plain(kind)
    )


@pytest.fixture
def ends() -> Iterator[None]:
    """Fail where a test would hang: what it waits for by then has many times as long as the slowest machine needs."""

    def hang(*_: object) -> None:
        raise AssertionError("nothing has come")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of four words, `data`, the dataset of them, and `run`, which has learned to tell them apart."""
    from recordings import write_corpus

    from s2scli.configs.preprocess import PreprocessConfig
    from s2scli.configs.train import TrainConfig
    from s2scli.preprocess import preprocess
    from s2scli.schema import build
    from s2scli.train import train

    folder = tmp_path_factory.mktemp("speech")
    write_corpus(folder, train=48, valid=4, test=8)
    files = {f"{split}_file": folder / f"{split}.tsv" for split in ("train", "valid", "test")}
    # A tone without its own mean would be as any other.
    frames = {"source_type": "audio", "num_mel_bins": 16, "cmvn": "global"}
    preprocess(build(PreprocessConfig, files | frames | {"tokenizer": "word", "destdir": folder / "data"}))
    sizes = {"layers": 1, "embed_dim": 32, "ffn_embed_dim": 64, "attention_heads": 2}
    sides = {f"model.{side}_{name}": size for side in ("encoder", "decoder") for name, size in sizes.items()}
    values = {
        "data": folder / "data",
        "save_dir": folder / "run",
        "arch": "s2t_transformer_xs",
        "model.conv_channels": 32,
        "model.dropout": 0.0,
        "optimizer.lr": 0.01,
        "lr_scheduler.warmup_updates": 10,
        "max_tokens": 400,
        "max_update": 60,
        "device": "cpu",
    }
    train(TrainConfig.resolve({}, values | sides))
    return folder


@pytest.fixture
def generating(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], Generator]:
    """Call it with a checkpoint or a run's folder to have `generate` run on text with it."""
    from generating import Generator

    return lambda path: Generator(path, capsys, monkeypatch)


@pytest.fixture
def transformer(toy_runs: Path, generating: Callable[[Path], Generator]) -> Generator:
    """`generate` with the Transformer of the toy runs."""
    return generating(toy_runs / "transformer")
