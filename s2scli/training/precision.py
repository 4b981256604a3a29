"""The loss scale that keeps the small gradients of a training in fp16 from vanishing."""

from __future__ import annotations

from dataclasses import dataclass

_GROWTH_INTERVAL = 2000
_SMALLEST = 1.0


@dataclass
class LossScale:
    """A dynamic loss scale (Micikevicius et al. 2018, section 3.2); in other precisions it stays 1.

    It is halved when a gradient overflows, and doubled after 2,000 updates without that. Whether a gradient has
    overflowed is read off the norm over all processes, so that all of them decide alike.
    """

    value: float = 1.0
    dynamic: bool = False
    good_updates: int = 0

    @classmethod
    def of(cls, precision: str) -> LossScale:
        """The scale that a run of a precision begins with."""
        return cls(2.0**16, dynamic=True) if precision == "fp16" else cls()

    def note(self, overflow: bool) -> bool:
        """Adapt to an update; whether its overflow is what this scale is there to mend."""
        if not self.dynamic:
            return False
        if overflow:
            self.good_updates = 0
            self.value /= 2
            return self.value >= _SMALLEST
        self.good_updates += 1
        if self.good_updates == _GROWTH_INTERVAL:
            self.good_updates = 0
            self.value *= 2
        return False
