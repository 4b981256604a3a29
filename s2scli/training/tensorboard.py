"""The figures of a run for TensorBoard: `tensorboard --logdir SAVE_DIR` shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from s2scli.errors import S2SError
from s2scli.files import check_no_link
from s2scli.io import explain_write_errors
from s2scli.training.observers import EventObserver

# Not drawn: the first is the x axis.
_LEFT_OUT = ("update", "seconds_left")


class TensorBoard(EventObserver):
    """Writes the numbers of events as scalars KIND/NAME: train/loss, valid/bleu, norms/encoder_layers.0.

    A run that was killed, or diverged, goes on from its last checkpoint: TensorBoard hides what was written of
    later updates than that, which is `resumed_at`, or where it is not known the one before the first that is
    written now. Raises S2SError where tensorboard is not installed.
    """

    def __init__(self, folder: Path, resumed_at: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise S2SError(
                "--tensorboard needs tensorboard, which is not installed: pip install 's2scli[tensorboard]'"
            ) from None
        self._new_writer = SummaryWriter
        self._folder = folder
        self._resumed_at = resumed_at
        self._latest = 0
        self._writer: Any = None

    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Write the numbers of one event; events of no update are left out."""
        update = values.get("update")
        if not isinstance(update, int):
            return
        with explain_write_errors(self._folder):
            check_no_link(self._folder)
            if update < self._latest:
                self.close()
                self._resumed_at = 0
            if self._writer is None:
                self._writer = self._new_writer(self._folder, purge_step=max(update, self._resumed_at + 1))
            self._latest = update
            for name, value in scalars(kind, values):
                self._writer.add_scalar(name, value, update)
            # A run that is killed keeps what it has logged.
            self._writer.flush()

    def close(self) -> None:
        """End the file; all that was written is in it already."""
        if self._writer is not None:
            # After a failed write it fails once more, which would hide the first failure.
            with suppress(OSError):
                self._writer.close()
            self._writer, self._resumed_at = None, self._latest


def scalars(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of an event as KIND/NAME, but for the update and the time left."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from scalars(kind, value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in _LEFT_OUT:
            yield f"{kind}/{name}", float(value)
