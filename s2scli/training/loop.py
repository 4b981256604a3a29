"""The training loop: epochs of updates, with validations and checkpoints between them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from s2scli.checkpoint import BEST, LAST
from s2scli.data.column import Indices
from s2scli.errors import Interrupted
from s2scli.schema import by_epoch
from s2scli.training.divergence import WentBack, watch
from s2scli.training.ending import begin_to_count, count_time, is_over
from s2scli.training.keeping import keep_best, keep_epoch, keep_update
from s2scli.training.log import Window
from s2scli.training.run import Run
from s2scli.training.signals import Stop
from s2scli.training.step import MicroBatch
from s2scli.training.validation import higher_is_better, validate

Group = list[Indices]

# Characters of a sample's sentence that are shown.
_SHOWN = 200


def run_training(run: Run) -> None:
    """Train until the config says stop.

    Raises Interrupted, the run being saved, where a signal said so.
    """
    run.objective.train()
    run.signals.prepared = True
    begin_to_count(run)
    try:
        while not run.position.finished:
            try:
                train_epoch(run)
            except WentBack:
                continue
    except Stop:
        # Where the last update is made but its validation is not, there is something left to do.
        run.position.finished = ""
        run.save(LAST, resumable=True)
        # A process that is gone is what torchrun ends all others for, be they saving.
        run.processes.wait()
        raise Interrupted(
            f"stopped at update {run.position.update}; {run.save_dir / LAST} is saved, repeat the command to go on",
            run.signals.received,
        ) from None
    finally:
        run.loader.close()
        run.log.close()


def train_epoch(run: Run) -> None:
    """Go through what is left of the current epoch, then validate and save.

    The last checkpoint is not written while updates are being skipped: it is what a run goes back to, so it should
    be from before those.
    """
    position = run.position
    # The run may have been stopped between an update and the validation that was due after it.
    if (position.part or position.batch) and not is_over(run):
        validate_if_due(run)
    while train_part(run) and not position.finished and position.part + 1 < run.train_plan.parts:
        position.part, position.batch = position.part + 1, 0
    end_epoch(run)


def train_part(run: Run) -> bool:
    """Go through what is left of the current part of the epoch; whether all of it is done."""
    position, config = run.position, run.config
    batches = run.train_plan.part(position.epoch, position.part)
    window = Window(started=time.perf_counter())
    left = [] if is_over(run) else batches[position.batch :]
    groups = list(updates(left, run.batches_per_update))
    for group, micro_batches in load_updates(run, groups):
        make_update(run, group, micro_batches, window)
        position.batch += len(group)
        count_time(run)
        if position.update % config.log_interval == 0 or position.update == 1:
            report_progress(run, window, len(batches))
            window = Window(started=time.perf_counter())
        run.log.tick(position.update, total_updates(run, len(batches)))
        if is_over(run):
            break
        run.stop_if_asked()
        if validate_if_due(run):
            window = Window(started=time.perf_counter())
            if is_over(run):
                break
        if due(config.save_interval_updates, position.update) and not position.skipped:
            keep_update(run)
            run.save(LAST, resumable=True)
    return position.batch == len(batches)


def due(interval: int, update: int) -> bool:
    """Whether something that is done every so many updates (0: never) is to be done now."""
    return interval > 0 and update % interval == 0


def validate_if_due(run: Run) -> bool:
    """Validate if --validate-interval-updates says so; whether it did."""
    if not due(run.config.validate_interval_updates, run.position.update):
        return False
    validate_and_keep(run)
    return True


def end_epoch(run: Run) -> None:
    """Validate and save at the end of an epoch, or where the run ends within one."""
    position, config, plan = run.position, run.config, run.train_plan
    epoch = position.epoch
    whole = position.part + 1 == plan.parts and position.batch == len(plan.part(epoch, position.part))
    if whole:
        validate_and_keep(run)
        position.epoch, position.part, position.batch = epoch + 1, 0, 0
        if epoch == config.max_epoch:
            position.finished = f"--max-epoch {config.max_epoch}"
        is_over(run)
    # The last checkpoint comes last: a run that is killed in between is here once more.
    if whole or position.finished:
        keep_epoch(run, epoch)
    if position.finished and not whole:
        validate_where_it_ends(run)
    if position.finished or not position.skipped:
        run.save(LAST, resumable=True)


def validate_where_it_ends(run: Run) -> None:
    """Validate where the run ends within an epoch, having saved it as one that has yet to do that.

    If the run is resumed to go further, it must not remember a validation that it would not have made.
    """
    position, schedule = replace(run.position), run.schedule.state_dict()
    run.position.finished = ""
    run.save(LAST, resumable=True)
    validate_and_keep(run)
    run.position = position
    run.schedule.load_state_dict(schedule)


def updates(batches: list[Indices], batches_per_update: int) -> Iterator[Group]:
    """Groups of batches whose gradients make one update."""
    stream = iter(batches)
    while group := list(islice(stream, batches_per_update)):
        yield group


def load_updates(run: Run, groups: list[Group]) -> Iterator[tuple[Group, list[MicroBatch]]]:
    """Each group with this process's share of its batches, read and padded, ahead of time where that helps."""
    shares = [share_of(run, group) for group in groups]
    jobs = [[indices for _, indices, _ in share] for share in shares]
    for group, share, batches in zip(
        groups, shares, run.loader.stream(jobs, run.position.epoch), strict=True
    ):
        yield (
            group,
            [
                MicroBatch(number, batch, counts=counts)
                for (number, _, counts), batch in zip(share, batches, strict=True)
            ],
        )


def share_of(run: Run, group: Group) -> list[tuple[int, Indices, bool]]:
    """This process's batches of an update: number in the group, pairs, and whether they count."""
    mine = [(number, indices, True) for number, indices in run.processes.share(list(enumerate(group)))]
    # Shards are gathered in every pass, which all processes must make: for company, a batch that does not count.
    if run.processes.kind == "fsdp":
        passes = -(-len(group) // run.processes.size)
        mine += [(0, group[0], False)] * (passes - len(mine))
    return mine


def make_update(run: Run, group: Group, micro_batches: list[MicroBatch], window: Window) -> None:
    """Make the next update and add its figures to the window."""
    position, config = run.position, run.config
    position.update += 1
    source_tokens, target_tokens, slots = count_tokens(run, group, micro_batches)
    logged = position.update % config.log_interval == 0 or position.update == 1
    result = run.updater.update(
        position.update,
        [item.to(run.processes.device) for item in micro_batches],
        tokens=target_tokens,
        rate=run.rate(),
        log_norms=config.log_grad_norms and logged,
    )
    watch(run, result, group)
    if not result.finite:
        return
    if run.average is not None:
        run.average.update(position.update)
    window.updates += 1
    window.loss += result.loss
    window.nll += result.nll
    window.figures.update(result.figures)
    window.gradient_norm += result.gradient_norm
    window.source_tokens += source_tokens
    window.target_tokens += target_tokens
    window.slots += slots
    if result.norms:
        run.log.norms(position.update, dict(result.norms))


def count_tokens(run: Run, group: Group, micro_batches: list[MicroBatch]) -> tuple[int, int, int]:
    """Source tokens and target tokens of an update, and the positions of both sides, over all processes.

    Where sentences are sampled, each process knows the lengths of those that it has loaded only.
    """
    if not run.loader.samples:
        return run.train_plan.count(group)
    counts = np.zeros(3, np.int64)
    for item in micro_batches:
        if item.counts:
            counts += item.batch.count()
    source, target, slots = (round(total) for total in run.processes.sum(counts.tolist()))
    return source, target, slots


def shorten(text: str) -> str:
    """A sentence to look at, of bounded length: an untrained model does not know when to end."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


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
        return run.train_plan.parts * -(-batches // (by_epoch(freq, number) * run.processes.size))

    freq, last = run.config.update_freq, run.config.max_epoch
    # From there on all epochs are alike.
    alike = max(epoch, min(len(freq), last)) if isinstance(freq, tuple) else epoch
    return sum(map(of, range(epoch, alike))) + (last - alike + 1) * of(alike)


def report_progress(run: Run, window: Window, batches: int) -> None:
    """Log the window's figures and the time left; batches: those of the current part."""
    position = run.position
    total = total_updates(run, batches)
    left = None if total is None else (total - position.update) * position.seconds / position.update
    if window.updates == 0:
        return
    run.log.progress(
        {
            "epoch": position.epoch,
            "update": position.update,
            **window.summary(),
            "lr": run.rate(),
            "seconds": round(position.seconds, 1),
            "seconds_left": left,
        }
    )


def validate_and_keep(run: Run) -> None:
    """Validate, tell the schedule, and save the best checkpoint; not twice, nor without a validation split."""
    position, config = run.position, run.config
    if not run.validated_on or position.validated == position.update:
        return
    best_by = config.best_checkpoint_metric
    validation = validate(run)
    position.validated = position.update
    for record in validation.samples:
        shown = {"source": record.source, "output": record.text, "reference": record.reference}
        run.log.say("\n".join(f"  {name + ':':<10} {shorten(text)}" for name, text in shown.items()))
    figure, upward = validation.figures[best_by], higher_is_better(best_by)
    run.schedule.validated(figure, higher_is_better=upward)
    is_best = not math.isnan(figure) and (
        position.best is None or (figure > position.best if upward else figure < position.best)
    )
    position.stale = 0 if is_best else position.stale + 1
    if is_best:
        position.best = figure
    subset = run.validated_on[0].split.name
    run.log.validation(
        {"epoch": position.epoch, "update": position.update, **validation.figures}, subset, is_best
    )
    keep_best(run, figure)
    if is_best:
        run.save(BEST, resumable=False)
    count_time(run)
    if config.patience and position.stale >= config.patience:
        position.finished = f"--patience {config.patience}"
