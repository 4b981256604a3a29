"""Values of settings from text and TOML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from s2scli.errors import UsageError
from s2scli.schema import build, setting, spelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """A setting of each kind."""

    count: int | Literal["auto"] = setting(1, "a count", at_least=1)
    free: int | None = setting(None, "any count")
    rate: float = setting(0.5, "a rate", above=0)
    rates: tuple[float, ...] = setting((), "rates")
    device: str = setting("auto", "auto, cpu or cuda:N", pattern="auto|cpu|cuda:[0-9]")
    folder: Path = setting(Path(), "a folder")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": None}, "count = null is not valid; wanted: a whole number"),
        ({"count": 10**30}, f"count = {10**30} is not allowed; allowed: ≥ 1 and ≤ 9223372036854775807"),
        ({"free": -(10**30)}, "allowed: ≥ -9223372036854775807 and ≤ 9223372036854775807"),
        ({"rate": "nan"}, "rate = 'nan' is not allowed; allowed: > 0 and ≤ 3.4e+38"),
        ({"rate": 10**400}, "rate = 0x"),
        ({"rate": {"a": [True]}}, "rate = {a = [true]} is not valid; wanted: a number"),
        ({"rates": "[[1]]"}, "rates = '[[1]]' is not valid; wanted: a number"),
        ({"rates": [1, float("inf")]}, "rates = [1, inf] is not allowed; allowed: ≥ -3.4e+38 and ≤ 3.4e+38"),
        ({"device": "meta"}, "device = 'meta' is not allowed; allowed: auto, cpu or cuda:N"),
        ({"folder": ""}, "folder = '' is not valid; wanted: a path"),
    ],
)
def test_a_value_that_is_none_is_spelled_as_the_user_wrote_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        build(Config, values)
    assert message in str(refused.value)


def test_values_are_taken_from_text_as_from_toml() -> None:
    assert build(Config, {"count": " 7 ", "rate": "1e-3", "rates": "(1, .5)", "free": None}) == Config(
        count=7, rate=0.001, rates=(1.0, 0.5)
    )
    assert build(Config, {"count": 7.0, "rate": 1, "rates": [1, 0.5]}) == Config(
        count=7, rate=1.0, rates=(1.0, 0.5)
    )
    assert build(Config, {"count": "auto"}).count == "auto"


def test_a_long_value_is_shown_in_short() -> None:
    assert len(spelled("x" * 10_000)) < 100
    assert len(spelled([10**5000])) < 100
