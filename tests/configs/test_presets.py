"""A preset in place of a config file's own: the model is what its name says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s2scli.configs.presets import PRESETS
from s2scli.configs.train import TrainConfig
from s2scli.errors import UsageError
from s2scli.schema import as_dict
from s2scli.toml import read_toml, to_toml

CHOSEN = {"data": "data", "model.dropout": "0.25", "lr_scheduler.warmup_updates": "7", "patience": "3"}


@pytest.fixture
def file(tmp_path: Path) -> dict[str, Any]:
    """The config.toml of a run that was made with some settings beside its preset's."""
    path = tmp_path / "config.toml"
    path.write_text(to_toml(as_dict(TrainConfig.resolve({}, CHOSEN))))
    return read_toml(path)


@pytest.mark.parametrize("arch", PRESETS)
def test_a_runs_config_with_another_preset_is_that_preset_with_what_was_chosen_beside_the_first(
    arch: str, file: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert TrainConfig.resolve(file, {"arch": arch}) == TrainConfig.resolve({}, {**CHOSEN, "arch": arch})
    said = capsys.readouterr().err
    assert said.endswith("stays: model.dropout, lr_scheduler.warmup_updates\n") or arch == file["arch"]


@pytest.mark.parametrize("own", [{}, {"arch": "transformer_tiny"}])
def test_what_is_written_by_hand_holds_for_any_preset(own: dict[str, str]) -> None:
    file = {"data": "data", **own, "model": {"decoder_layers": 4}, "optimizer": {"lr": 0.005}}
    config = TrainConfig.resolve(file, {"arch": "transformer_big"})
    assert (config.model.decoder_layers, config.optimizer.lr) == (4, 0.005)
    assert config.model.encoder_layers == PRESETS["transformer_big"]["model"]["encoder_layers"]


def test_a_model_of_another_family_than_its_preset_is_refused() -> None:
    names = {"arch": "--arch", "model.name": "--set model.name"}
    with pytest.raises(
        UsageError, match=r"--set model.name = 'transformer': --arch rnn_luong is of the family"
    ):
        TrainConfig.resolve({}, {"data": "d", "arch": "rnn_luong", "model.name": "transformer"}, names)
    with pytest.raises(UsageError, match="choose a preset of that family: rnn_fixed_vector, rnn_bahdanau"):
        TrainConfig.resolve(
            {"data": "d", "model": {"name": "recurrent"}}, {}, {"model.name": "f: [model] name"}
        )
