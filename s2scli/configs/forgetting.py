"""Settings that keep a model from forgetting what it was trained on before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.errors import UsageError
from s2scli.schema import setting

_FORGETTING = "Forgetting"


@dataclass(frozen=True, kw_only=True)
class ForgettingConfig:
    """How much weights are held to what they were, each as far as earlier data needs it."""

    ewc_weight: float = setting(
        0.0,
        "with --finetune-from-model, hold each weight to its first value by so much times its Fisher information, λ of "
        "elastic weight consolidation; 0: no",
        at_least=0,
        panel=_FORGETTING,
    )
    ewc_data: Path | None = setting(
        None,
        "dataset folder with what must not be forgotten, as the model's earlier training data: its pairs tell the "
        "Fisher information",
        panel=_FORGETTING,
        needs="ewc_weight",
        decides=False,
    )
    ewc_sentences: int = setting(
        1000,
        "pairs of it that are used, evenly spaced, a forward and backward pass each",
        at_least=1,
        panel=_FORGETTING,
        needs="ewc_weight",
        decides=False,
    )

    def check_forgetting(self, start: Path | None, *, goes_on: bool) -> None:
        """UsageError where weights are to be held and it is not said to which, or by what data.

        goes_on: whether a run goes on whose checkpoint knows both.
        """
        if not self.ewc_weight or goes_on:
            return
        for flag, given in (("--finetune-from-model", start), ("--ewc-data", self.ewc_data)):
            if given is None:
                raise UsageError(
                    f"--ewc-weight {self.ewc_weight:g}: needs {flag}: the weights of a model are held as far as its "
                    "earlier data needs them"
                )
