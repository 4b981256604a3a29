"""Whether the kernels are used, or the plain formulas that they are equal to: the environment variable S2S_KERNELS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from s2scli.errors import UsageError

VARIABLE = "S2S_KERNELS"


def _read(value: str | None) -> bool:
    """Whether a value of the variable means that kernels are on; UsageError where it means nothing."""
    if value not in (None, "", "on", "off"):
        raise UsageError(
            f"{VARIABLE}={value}: allowed: on, for the kernels, and off, for the plain formulas; unset, it is on"
        )
    return value != "off"


_is_on = _read(os.environ.get(VARIABLE))


def enabled() -> bool:
    """Whether kernels are used. It is asked in inner loops, and so the variable is read once, at import."""
    return _is_on


@contextmanager
def switched(on: bool) -> Iterator[None]:
    """Use kernels, or plain formulas, inside this block, whatever the variable says."""
    global _is_on
    before, _is_on = _is_on, on
    try:
        yield
    finally:
        _is_on = before
