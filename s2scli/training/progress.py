"""How far a run is: its figures, and the update at which it will end."""

from __future__ import annotations

from s2scli.schema import by_epoch
from s2scli.training.log import Window
from s2scli.training.run import Run


def total_updates(run: Run, batches: int) -> int | None:
    """The update at which the run ends at the latest, or None where only --patience ends it.

    batches: those of the current part; the others' may differ by a few.
    """
    config, position = run.config, run.position
    ends = [config.max_update] if config.max_update else []
    if config.max_epoch:
        done_in_epoch = -(-position.batch // run.batches_per_update)
        done_in_epoch += position.part * -(-batches // run.batches_per_update)
        ends.append(position.update + updates_from(run, position.epoch, batches) - done_in_epoch)
    return min(ends) if ends else None


def updates_from(run: Run, epoch: int, batches: int) -> int:
    """The updates of an epoch and all after it, up to --max-epoch; batches: those of a part of an epoch."""

    def of(number: int) -> int:
        return run.data.train_plan.parts * -(-batches // (by_epoch(freq, number) * run.processes.size))

    freq, last = run.config.update_freq, run.config.max_epoch
    # From there on all epochs are alike.
    alike = max(epoch, min(len(freq), last)) if isinstance(freq, tuple) else epoch
    return sum(map(of, range(epoch, alike))) + (last - alike + 1) * of(alike)


def report_progress(run: Run, window: Window, batches: int) -> None:
    """Log the window's figures and the time left; batches: those of the current part."""
    position = run.position
    total = total_updates(run, batches)
    updates = position.update - position.timed_from
    left = None if total is None else (total - position.update) * position.seconds / updates
    if window.updates == 0:
        return
    run.observers.progressed(
        {
            "epoch": position.epoch,
            "update": position.update,
            **window.summary(),
            "lr": run.rate(),
            "seconds": round(position.seconds, 1),
            "seconds_left": left,
        }
    )
