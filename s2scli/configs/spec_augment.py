"""The policies of SpecAugment: how many stretches of a spectrogram training hides, and how long they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from s2scli.errors import UsageError, did_you_mean

# Park et al. 2019, table 1, without time warping.
NAMED = {
    "lb": "27/1/100/1/1",
    "ld": "27/2/100/1/2",
    "sm": "15/2/70/0.2/2",
    "ss": "27/2/70/0.2/2",
}
_FORM = "F/mF/T/p/mT"


@dataclass(frozen=True, kw_only=True)
class SpecAugmentPolicy:
    """How much SpecAugment hides (Park et al. 2019, section 2).

    frequency_width: F, beyond the most neighbouring bins of a mask; frequency_masks: m_F, how many of these;
    time_width: T, beyond the most frames of a mask; time_share: p, the most of all frames that a mask has;
    time_masks: m_T.
    """

    frequency_width: int
    frequency_masks: int
    time_width: int
    time_share: float
    time_masks: int

    @classmethod
    def of(cls, text: str, *, flag: str = "--specaugment") -> Self:
        """The policy that a name or numbers say: "ld", or "27/2/100/1/2" for F/mF/T/p/mT; UsageError otherwise."""
        numbers = NAMED.get(text, text).split("/")
        if len(numbers) != 5 and re.fullmatch(r"[a-z]+", text):
            raise UsageError(f"{flag} {text}: no such policy{did_you_mean(text, [*NAMED, 'none'])}")
        whole = re.compile(r"[0-9]{1,6}")
        is_number = [whole.fullmatch(item) for item in numbers]
        share = numbers[3] if len(numbers) == 5 else ""
        if (
            len(numbers) != 5
            or not all(is_number[:3] + is_number[4:])
            or not re.fullmatch(r"1|1\.0*|0?\.[0-9]+", share)
        ):
            raise UsageError(
                f"{flag} {text}: allowed: none, {', '.join(NAMED)}, or numbers {_FORM} such as {NAMED['ld']}: F and T "
                "bins and frames, mF and mT masks, and 0 < p ≤ 1"
            )
        first, second, third, _, last = numbers
        return cls(
            frequency_width=int(first),
            frequency_masks=int(second),
            time_width=int(third),
            time_share=float(share),
            time_masks=int(last),
        )
