"""Runs on frames: exactly resumed, searched in every way, with and without the CTC head, and begun with an encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from generating import Generator, joined
from toys import CONFORMER, CONVOLUTIONAL, ON_FRAMES, SPEECH, TRANSFORMER, Trainer, assert_same_run

from s2scli.checkpoint import load_checkpoint
from s2scli.checkpoint_file import BEST
from s2scli.configs.datastore import DatastoreConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.dataset import Dataset
from s2scli.datastore import datastore
from s2scli.errors import CheckpointError, UsageError
from s2scli.inference.translator import Translator

RUNS: dict[str, dict[str, Any]] = {
    "transformer": SPEECH,
    "conformer": CONFORMER,
    "las": {key: value for key, value in SPEECH.items() if not key.startswith("model.")}
    | {
        "arch": "las",
        "model.specaugment": "ld",
        "model.encoder_hidden_size": 6,
        "model.decoder_hidden_size": 8,
        "model.decoder_embed_dim": 8,
        "model.attention_dim": 6,
    },
    "convolutional": CONVOLUTIONAL | ON_FRAMES | {"model.conv_channels": 16},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_as_if_it_had_not_stopped(spoken: Trainer, name: str) -> None:
    spoken("whole", **RUNS[name], max_update=5)
    spoken("parts", **RUNS[name], max_update=2)
    spoken("parts", **RUNS[name], max_update=5)
    whole = spoken.checkpoint("whole")
    assert_same_run(whole, spoken.checkpoint("parts"))
    assert {name for name in whole.weights if name.startswith("head.")} == {
        "head.ctc.weight",
        "head.ctc.bias",
    }
    assert all(event["ctc_too_short"] == 0 for event in spoken.events("whole", "train"))
    assert not any("ctc_too_short" in event for event in spoken.events("whole", "valid"))


def test_validation_writes_twice_the_longest_target_at_most(
    spoken: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that has learned nothing ends few outputs by itself."""
    plain, found = Translator.translate, []

    def kept(self: Translator, *arguments: Any, **settings: Any) -> Any:
        for record in plain(self, *arguments, **settings):
            found.append(len(record.hypotheses[0].text.split()))
            yield record

    monkeypatch.setattr(Translator, "translate", kept)
    config = spoken.config("run", **SPEECH, max_update=1)
    split = Dataset.open(config.data).split("train")
    longest = max(len(split.text("target", row).split()) for row in range(len(split)))
    spoken("run", **SPEECH, max_update=1, eval_metrics="wer")
    assert max(found) == 2 * longest + 10 < 200


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "beam": {"beam": 3},
    "diverse": {"beam": 4, "diverse_beam_groups": 2},
    "sampling": {"sampling": True, "seed": 3},
}


@pytest.fixture(scope="module")
def recognizer(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a CTC head."""
    root = tmp_path_factory.mktemp("recognizer")
    Trainer(speech / "data", root)("run", **SPEECH | {"optimizer.lr": 0.01}, max_update=40)
    return root / "run"


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_has_an_output_for_each_recording(
    recognizer: Path,
    speech: Path,
    generating: Callable[[Path], Generator],
    monkeypatch: pytest.MonkeyPatch,
    search: str,
) -> None:
    monkeypatch.chdir(speech)
    run = generating(recognizer)
    paths = joined([f"wav/test-{index}.wav" for index in range(8)])
    scores = set()
    for weight in (0.0, 0.3, 1.0):
        lines = run(paths, ctc_weight=weight, nbest=1, max_len_b=5, **SEARCHES[search], format="fairseq")
        outputs = [line for line in lines if line.startswith("H-")]
        assert len(outputs) == 8
        scores.add(tuple(outputs))
    assert len(scores) == 3


def test_several_are_an_ensemble_with_their_heads(
    recognizer: Path, speech: Path, generating: Callable[[Path], Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(speech)
    paths = joined([f"wav/test-{index}.wav" for index in range(8)])
    twice = generating(Path(f"{recognizer}:{recognizer}"))
    once = generating(recognizer)
    assert twice(paths, ctc_weight=0.3, max_len_b=5) == once(paths, ctc_weight=0.3, max_len_b=5)


def test_a_model_without_a_head_says_so(
    speech: Path, generating: Callable[[Path], Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(speech)
    with pytest.raises(
        UsageError, match=r"--ctc-weight 0.3: .*has no CTC head; train it with s2s train --ctc-weight"
    ):
        generating(speech / "run")("wav/test-0.wav\n", ctc_weight=0.3)


def test_another_run_begins_with_a_recognizers_encoder(
    recognizer: Path, spoken: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for speech translation: its decoder, and here its head, are new."""
    spoken("new", **SPEECH | {"optimizer.lr": 1e-12}, init_encoder=recognizer, max_update=1)
    assert "encoder: begins with the encoder of" in capsys.readouterr().err
    before, now = load_checkpoint(recognizer / BEST).weights, spoken.checkpoint("new").weights
    same = {name for name in now if torch.allclose(now[name], before[name], atol=1e-9)}
    assert {name for name in now if name.startswith("encoder_")} <= same
    assert not {name for name in now if "cross_attention.query.weight" in name} & same


def test_an_encoder_of_other_sources_is_refused(recognizer: Path, spoken: Trainer, trained: Trainer) -> None:
    trained("text", **TRANSFORMER, max_update=1)
    with pytest.raises(CheckpointError, match=r"its encoder reads text, and the sources of .* are frames"):
        spoken("new", **SPEECH, init_encoder=trained.root / "text", max_update=1)
    with pytest.raises(CheckpointError, match=r"its encoder reads frames, and the sources of .* are text"):
        trained("new", **TRANSFORMER, init_encoder=recognizer, max_update=1)


def test_data_of_other_sources_is_no_datastore_and_holds_no_weights(
    recognizer: Path, spoken: Trainer, trained: Trainer, toy_data: Path, tmp_path: Path
) -> None:
    trained("text", **TRANSFORMER, max_update=1)
    of_speech = spoken.data
    for path, data, message in (
        (recognizer, toy_data, "has no frames of features as source, and .* reads frames"),
        (trained.root / "text", of_speech, "has frames of features as source, and .* reads text"),
    ):
        with pytest.raises(UsageError, match=message):
            datastore(DatastoreConfig(path=path, data=data, output=tmp_path / "x.safetensors"))
    with pytest.raises(UsageError, match=r"has no frames of features as source, and .* reads frames"):
        spoken(
            "held", **SPEECH, finetune_from_model=recognizer, ewc_weight=1.0, ewc_data=toy_data, max_update=1
        )


def test_a_head_begins_anew_or_is_left_out_where_a_model_is_tuned(
    recognizer: Path, spoken: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = SPEECH | {"objective.ctc_weight": 0.0}
    spoken("without", **plain, finetune_from_model=recognizer, max_update=1)
    assert "its ctc head is left out" in capsys.readouterr().err
    assert not any(name.startswith("head.") for name in spoken.checkpoint("without").weights)
    spoken("again", **SPEECH, finetune_from_model=spoken.root / "without", max_update=1)
    assert "has no ctc head; it begins anew" in capsys.readouterr().err
    assert "head.ctc.weight" in spoken.checkpoint("again").weights


def test_settings_of_older_runs_mean_what_they_meant() -> None:
    """CTC was a kind of encoder loss, with a weight of its own."""
    old = {"name": "label_smoothed_cross_entropy", "encoder_loss": "ctc", "encoder_loss_weight": 0.4}
    found = TrainConfig.resolve({"data": "data", "objective": old}, {}).objective
    assert (found.encoder_loss, found.ctc_weight) == ("none", 0.4)
    assert (
        TrainConfig.resolve({"data": "data"}, {"objective.encoder_loss": "ctc"}).objective.ctc_weight == 0.2
    )
