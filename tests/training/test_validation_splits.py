"""What a run validates on: --valid-subset, --disable-validation, --decode-and-evaluate."""

from __future__ import annotations

import pytest
from toys import TRANSFORMER, Trainer

from s2scli.components import METRICS
from s2scli.errors import DataError, UsageError


def test_several_splits_the_first_decides(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    quick = TRANSFORMER | {"optimizer.lr": 0.03, "max_epoch": 4}
    trained("both", **quick, valid_subset="test,valid", eval_metrics="chrf")
    err = capsys.readouterr().err
    events = trained.events("both", "valid")
    assert trained.checkpoint("both").run["best"] == min(event["loss"] for event in events)
    assert {"loss", "ppl", "chrf", "valid/loss", "valid/ppl", "valid/chrf"} < set(events[0])
    assert err.count("| test: loss") == err.count("| valid: loss") == 4
    assert " | best so far" in next(line for line in err.splitlines() if "| test: loss" in line)
    assert "best so far" not in "".join(line for line in err.splitlines() if "| valid: loss" in line)
    # Neither takes anything from the other.
    trained("valid", **quick, eval_metrics="chrf")
    for alone, both in zip(trained.events("valid", "valid"), events, strict=True):
        assert [alone[name] for name in ("loss", "ppl", "chrf")] == [
            both[f"valid/{name}"] for name in ("loss", "ppl", "chrf")
        ]


def test_without_validation_the_last_checkpoint_is_the_result(
    trained: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    trained("run", **TRANSFORMER, max_epoch=2, patience=1, disable_validation=True)
    assert "--disable-validation: the last checkpoint is the result" in capsys.readouterr().err
    assert not trained.events("run", "valid")
    assert {path.name for path in (trained.root / "run").glob("checkpoint*")} == {
        "checkpoint_last.safetensors"
    }
    trained("other", **TRANSFORMER, max_epoch=2)
    one, other = trained.checkpoint("run").weights, trained.checkpoint("other").weights
    assert all(one[name].equal(other[name]) for name in other)


def test_the_first_sentences_are_translated(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    metric = METRICS["chrf"]
    plain = metric.score

    def score(self: object, hypotheses: list[str], *others: object) -> object:
        scored.append(len(hypotheses))
        return plain(self, hypotheses, *others)

    monkeypatch.setattr(metric, "score", score)
    settings = TRANSFORMER | {"max_update": 2, "eval_metrics": "chrf"}
    trained("seven", **settings, decode_and_evaluate=7)
    trained("all", **settings)
    trained("more", **settings, decode_and_evaluate=1000)
    assert scored == [7, 24, 24]
    losses = [trained.events(name, "valid")[0]["loss"] for name in ("seven", "all", "more")]
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"valid_subset": ""}, "--valid-subset: names no split"),
        ({"valid_subset": "valid,valid"}, "--valid-subset: names valid twice"),
        ({"decode_and_evaluate": 0}, "--decode-and-evaluate 0: translates nothing"),
        (
            {"disable_validation": True, "lr_scheduler.name": "reduce_on_plateau"},
            "--lr-scheduler reduce_on_plateau: goes by the figures of validations",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(
    trained: Trainer, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        trained.config("run", **settings)


def test_a_split_that_is_not_there_is_named(trained: Trainer) -> None:
    with pytest.raises(DataError, match="no split 'vaild'; did you mean valid"):
        trained("run", **TRANSFORMER, valid_subset="vaild")
