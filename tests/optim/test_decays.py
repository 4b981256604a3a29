"""The schedules that decay against papers' and fairseq's formulas, and torch's schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LRScheduler,
    PolynomialLR,
    StepLR,
)

from s2scli.components import SCHEDULES
from s2scli.configs.sections import COMPONENTS
from s2scli.configs.train import TrainConfig
from s2scli.errors import UsageError
from s2scli.optim.schedules import Schedule, build_schedule
from s2scli.schema import as_dict, build

LR = 0.8
# The settings with which each of the schedules takes its length from the run.
ENDING: dict[str, dict[str, Any]] = {
    "linear": {},
    "polynomial_decay": {"power": 2.0},
    "cosine": {},
    "tri_stage": {"hold_updates": 5},
}


def make(name: str, lr: float = LR, **settings: Any) -> Schedule:
    return build_schedule(build(SCHEDULES[name], settings), lr)


def torchs(make_scheduler: Callable[[SGD], LRScheduler], updates: int) -> list[float]:
    """The rates after 0, 1, …, updates - 1 steps of one of torch's schedulers, which counts from 0."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(updates):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0, 7])
def test_linear(warmup: int) -> None:
    """Down from the end of the warm-up to the last update, by the same amount each time."""
    schedule = make("linear", total_updates=107, warmup_updates=warmup, end_learning_rate=0.1)
    updates = range(warmup + 1, 108)
    expected = [0.8 - 0.7 * (update - warmup) / (107 - warmup) for update in updates]
    assert [schedule.rate(update) for update in updates] == pytest.approx(expected, rel=1e-12)
    assert [schedule.rate(update) for update in (107, 108, 10_000)] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.5])
def test_polynomial_decay_is_torchs(power: float) -> None:
    schedule = make("polynomial_decay", total_updates=50, power=power)
    expected = torchs(lambda optimizer: PolynomialLR(optimizer, total_iters=50, power=power), 60)
    # From ours by the same progress: torch's rate after n steps is that of update n.
    assert [schedule.rate(update) for update in range(1, 60)] == pytest.approx(expected[1:], abs=1e-9)


def test_polynomial_decay_is_fairseqs() -> None:
    """(lr - end) · (1 - (update - warm-up) / (total - warm-up))^power + end."""
    warmup, total, end, power = 10, 60, 0.2, 1.7
    schedule = make("polynomial_decay", warmup_updates=10, total_updates=60, end_learning_rate=0.2, power=1.7)
    for update in range(1, 100):
        left = 1 - (update - warmup) / (total - warmup)
        expected = (LR - end) * left**power + end if warmup < update < total else end
        expected = LR * update / warmup if update <= warmup else expected
        assert schedule.rate(update) == pytest.approx(expected, rel=1e-12)


def test_power_1_is_linear() -> None:
    settings = {"total_updates": 40, "warmup_updates": 5, "end_learning_rate": 0.05}
    line, power = make("linear", **settings), make("polynomial_decay", **settings, power=1.0)
    assert [line.rate(update) for update in range(1, 60)] == [power.rate(update) for update in range(1, 60)]


def test_cosine_is_torchs() -> None:
    schedule = make("cosine", total_updates=50, min_lr=0.1)
    expected = torchs(lambda optimizer: CosineAnnealingLR(optimizer, T_max=50, eta_min=0.1), 51)
    assert [schedule.rate(update) for update in range(1, 51)] == pytest.approx(expected[1:], rel=1e-9)
    assert [schedule.rate(update) for update in (50, 51, 1000)] == [0.1, 0.1, 0.1]


def test_cosine_begins_after_the_warm_up() -> None:
    schedule = make("cosine", total_updates=110, warmup_updates=10)
    assert [schedule.rate(update) for update in (5, 10, 60, 110)] == pytest.approx([0.4, 0.8, 0.4, 0.0])
    assert 0.79 < schedule.rate(11) < 0.8


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_restarts_are_torchs(factor: int) -> None:
    """But for the border: torch's update there has the rate of the next start, ours that of the end."""
    schedule = make("cosine", lr_period_updates=10, t_mult=factor, min_lr=0.1)
    expected = torchs(
        lambda optimizer: CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=factor, eta_min=0.1), 300
    )
    borders = [index for index in range(1, 300) if expected[index] == LR]
    assert borders[:2] == [10, 10 + 10 * factor]
    for update in range(1, 300):
        rate = 0.1 if update in borders else expected[update]
        assert schedule.rate(update) == pytest.approx(rate, rel=1e-9), update


@pytest.mark.parametrize(("factor", "shrink"), [(1.0, 0.5), (1.5, 0.7), (2.0, 1.0), (1.01, 0.99)])
def test_restarts_are_fairseqs(factor: float, shrink: float) -> None:
    """fairseq's formula, which finds the period by a logarithm, off the borders where that errs."""
    warmup, period, lowest = 6, 17, 0.05
    schedule = make(
        "cosine", warmup_updates=6, lr_period_updates=17, t_mult=factor, lr_shrink=shrink, min_lr=lowest
    )
    borders = 0
    for update in range(warmup + 1, 400):
        done = update - warmup
        if factor == 1:
            number, length, inside = done // period, float(period), float(done % period)
        else:
            number = math.floor(math.log(1 - done / period * (1 - factor), factor))
            length = factor**number * period
            inside = done - (1 - factor**number) / (1 - factor) * period
        if min(inside, length - inside) < 1e-6:
            borders += 1
            continue
        cosine = 0.5 * (LR - lowest) * (1 + math.cos(math.pi * inside / length))
        assert schedule.rate(update) == pytest.approx(shrink**number * (lowest + cosine), rel=1e-9), update
    assert 0 < borders < 30


def test_each_restart_is_lower() -> None:
    schedule = make("cosine", lr_period_updates=1000, lr_shrink=0.5, min_lr=0.1)
    assert schedule.rate(1000) == pytest.approx(0.1)
    assert schedule.rate(1001) == pytest.approx(0.4, rel=1e-4)
    assert schedule.rate(2000) == pytest.approx(0.05)
    assert schedule.rate(2001) == pytest.approx(0.2, rel=1e-4)


def test_step_is_torchs() -> None:
    schedule = make("step", start_decay_at=10, decay_every=10, lr_shrink=0.3)
    expected = torchs(lambda optimizer: StepLR(optimizer, step_size=10, gamma=0.3), 200)
    assert [schedule.rate(update) for update in range(1, 201)] == pytest.approx(expected, rel=1e-9)


def test_step_as_luong_has_it() -> None:
    """Epochs of 100 updates: 5 at the full rate, then half of it in the 6th, a quarter in the 7th."""
    schedule = make("step", start_decay_at=500, decay_every=100)
    for epoch, rate in ((1, 0.8), (5, 0.8), (6, 0.4), (7, 0.2), (10, 0.025)):
        first, last = 100 * (epoch - 1) + 1, 100 * epoch
        assert [schedule.rate(update) for update in (first, last)] == pytest.approx([rate, rate])


def test_exponential_is_torchs() -> None:
    schedule = make("exponential", gamma=0.9, decay_every=1)
    expected = torchs(lambda optimizer: ExponentialLR(optimizer, gamma=0.9), 100)
    assert [schedule.rate(update) for update in range(1, 100)] == pytest.approx(expected[1:], rel=1e-9)


def test_exponential_halves_smoothly() -> None:
    schedule = make("exponential", gamma=0.5, decay_every=100, warmup_updates=10)
    rates = [schedule.rate(update) for update in (10, 60, 110, 210, 1010)]
    assert rates == pytest.approx([0.8, 0.8 * math.sqrt(0.5), 0.4, 0.2, 0.8 / 1024])


@pytest.mark.parametrize("settings", [{"decay_updates": 40}, {"total_updates": 75}])
def test_tri_stage_is_fairseqs(settings: dict[str, int]) -> None:
    schedule = make(
        "tri_stage", warmup_updates=15, hold_updates=20, final_lr_scale=0.05, warmup_init_lr=0.01, **settings
    )
    decay_factor = -math.log(0.05) / 40
    for update in range(1, 200):
        if update < 15:
            expected = 0.01 + (LR - 0.01) / 15 * update
        elif update < 35:
            expected = LR
        elif update <= 75:
            expected = LR * math.exp(-decay_factor * (update - 35))
        else:
            expected = LR * 0.05
        assert schedule.rate(update) == pytest.approx(expected, rel=1e-12), update


@pytest.mark.parametrize("name", ENDING)
@pytest.mark.parametrize("warmup", [0, 10])
def test_the_rate_never_rises_after_the_warm_up(name: str, warmup: int) -> None:
    schedule = make(name, warmup_updates=warmup, total_updates=100, **ENDING[name])
    rates = [schedule.rate(update) for update in range(warmup + 1, 150)]
    assert rates == sorted(rates, reverse=True)
    assert 0.75 < rates[0] <= 0.8
    assert rates[98 - warmup] > rates[99 - warmup] == rates[-1] < 0.01


def resolve(name: str, **settings: Any) -> TrainConfig:
    """The config of a command line; settings without a section are the schedule's."""
    train = {key: settings.pop(key) for key in ("max_update",) if key in settings}
    values = {"data": "d", "lr_scheduler.name": name, "lr_scheduler.warmup_updates": 10, **train}
    values |= {f"lr_scheduler.{key}": value for key, value in settings.items()}
    return TrainConfig.resolve({}, values)


@pytest.mark.parametrize("name", ENDING)
def test_the_length_is_the_runs(name: str) -> None:
    config = resolve(name, max_update="300", **ENDING[name])
    assert config.lr_scheduler == build(
        SCHEDULES[name], {"warmup_updates": 10, "total_updates": 300, **ENDING[name]}
    )
    saved = as_dict(config)
    assert saved["lr_scheduler"]["total_updates"] == 300
    assert TrainConfig.resolve(saved, {}) == config
    # What a run was resolved to stays, whatever its length is later.
    assert TrainConfig.resolve(saved, {"max_update": "500"}).lr_scheduler == config.lr_scheduler


@pytest.mark.parametrize("name", ENDING)
def test_its_own_length_goes_first(name: str) -> None:
    config = resolve(name, max_update=300, total_updates=200)
    assert as_dict(config.lr_scheduler)["total_updates"] == 200
    assert resolve(name, total_updates=200).lr_scheduler == config.lr_scheduler


@pytest.mark.parametrize("name", ENDING)
def test_a_schedule_without_a_length(name: str) -> None:
    for attempt in (lambda: resolve(name), lambda: make(name)):
        with pytest.raises(UsageError, match=f"{name}.*--max-update or --total-num-update"):
            attempt()


@pytest.mark.parametrize(
    ("name", "length"), [("cosine", "lr_period_updates"), ("tri_stage", "decay_updates")]
)
def test_a_length_in_other_words(name: str, length: str) -> None:
    for limit in ({}, {"max_update": 300}):
        schedule = as_dict(resolve(name, **{length: 50}, **limit).lr_scheduler)
        assert (schedule[length], schedule["total_updates"]) == (50, 0)
    with pytest.raises(UsageError, match=f"{length} = 50 and total_updates = 300 both"):
        resolve(name, **{length: 50, "total_updates": 300})


@pytest.mark.parametrize("name", ENDING)
def test_a_warm_up_that_leaves_nothing(name: str) -> None:
    for settings in ({"max_update": 10}, {"total_updates": 10}, {"max_update": 5}):
        with pytest.raises(UsageError, match=r"leaves no time to decay .* lower --warmup-updates"):
            resolve(name, **settings)
    assert resolve(name, max_update=11).lr_scheduler


def test_holding_leaves_nothing() -> None:
    with pytest.raises(UsageError, match="total_updates = 30 leaves no time to decay after 30 updates"):
        resolve("tri_stage", hold_updates=20, max_update=30)


@pytest.mark.parametrize(
    ("name", "key", "flag"),
    [
        ("cosine", "min_lr", "--min-lr"),
        ("linear", "end_learning_rate", "--end-learning-rate"),
        ("polynomial_decay", "end_learning_rate", "--end-learning-rate"),
    ],
)
def test_a_decay_does_not_rise(name: str, key: str, flag: str) -> None:
    with pytest.raises(UsageError, match=f"{flag} 0.9 is above the learning rate, --lr 0.8"):
        make(name, total_updates=10, **{key: 0.9})
    assert make(name, total_updates=10, **{key: 0.8}).rate(5) == 0.8


def test_fairseqs_flags() -> None:
    """The flags that fairseq has for these settings set them."""
    wanted = {
        "--lr-period-updates": "lr_scheduler.lr_period_updates",
        "--t-mult": "lr_scheduler.t_mult",
        "--lr-shrink": "lr_scheduler.lr_shrink",
        "--min-lr": "lr_scheduler.min_lr",
        "--end-learning-rate": "lr_scheduler.end_learning_rate",
        "--power": "lr_scheduler.power",
        "--total-num-update": "lr_scheduler.total_updates",
        "--hold-steps": "lr_scheduler.hold_updates",
        "--decay-steps": "lr_scheduler.decay_updates",
        "--final-lr-scale": "lr_scheduler.final_lr_scale",
        "--adafactor-eps": "optimizer.adafactor_eps",
        "--clip-threshold": "optimizer.clip_threshold",
        "--decay-rate": "optimizer.decay_rate",
        "--adadelta-rho": "optimizer.rho",
        "--momentum": "optimizer.momentum",
    }
    assert {flag: TrainConfig.aliases()[flag].key for flag in wanted} == wanted
    keys = {alias.key for alias in TrainConfig.aliases().values()}
    for section in ("optimizer", "lr_scheduler"):
        for cls in COMPONENTS[section].values():
            assert {f"{section}.{name}" for name in as_dict(cls())} <= keys
