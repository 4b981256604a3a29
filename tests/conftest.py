"""What the tests share: one thread, and a small dataset and runs that are made when first asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Before torch is loaded, here and in the processes that tests start: small tensors gain nothing from threads,
# and sums do not depend on the machine.
os.environ["OMP_NUM_THREADS"] = "1"

if TYPE_CHECKING:
    from toys import Trainer


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of made-up sentences, the target being the source backwards; one vocabulary for both sides."""
    from toys import write_dataset

    return write_dataset(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy_runs(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs on the toy data, "transformer" and "recurrent", that have learned a little."""
    from toys import BAHDANAU, TRANSFORMER, Trainer

    trainer = Trainer(toy_data, tmp_path_factory.mktemp("runs"))
    quick = {"optimizer.lr": 0.02, "model.dropout": 0.0, "log_interval": 100, "keep_last_epochs": 3}
    trainer("transformer", **TRANSFORMER | quick, max_epoch=12)
    trainer("recurrent", **BAHDANAU | quick, max_epoch=12)
    return trainer.root


@pytest.fixture
def trained(toy_data: Path, tmp_path: Path) -> Trainer:
    """Call it with a name and settings to train on the toy data in a folder of that name."""
    from toys import Trainer

    return Trainer(toy_data, tmp_path)
