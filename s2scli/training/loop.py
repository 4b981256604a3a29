"""The training loop: epochs of updates, with validations and checkpoints between them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import numpy as np

from s2scli.checkpoint_file import BEST, LAST
from s2scli.console import counted, warn
from s2scli.data.column import Indices
from s2scli.errors import Interrupted, S2SError
from s2scli.training.divergence import WentBack, watch
from s2scli.training.ending import begin_to_count, count_time, is_over
from s2scli.training.keeping import keep_best, keep_epoch, keep_update
from s2scli.training.log import Window
from s2scli.training.progress import report_progress, shorten, total_updates
from s2scli.training.run import Run
from s2scli.training.signals import Stop
from s2scli.training.step import MicroBatch
from s2scli.training.validation import higher_is_better, validate

Group = list[Indices]


class DataLost(Exception):  # noqa: N818 (what happened, not an error of the run)
    """What a run reads is not there any more; the run itself is as it was."""


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
        save_where_it_stands(run)
        # A process that is gone is what torchrun ends all others for, be they saving.
        run.processes.wait()
        raise Interrupted(
            f"stopped at update {run.position.update}; {run.save_dir / LAST} is saved, repeat the command to go on",
            run.signals.received,
        ) from None
    except DataLost as lost:
        save_where_it_stands(run)
        raise S2SError(
            f"{lost}; {run.save_dir / LAST} is saved at update {run.position.update}: when that is mended, repeat the "
            "command to go on"
        ) from None
    finally:
        run.loader.close()
        run.log.close()


def save_where_it_stands(run: Run) -> None:
    """Write the last checkpoint of a run that is not at its end; S2SError where its model is no result."""
    if run.unsound:
        raise S2SError(run.no_result(run.unsound))
    # Where the last update is made but its validation is not, there is something left to do.
    finished, run.position.finished = run.position.finished, ""
    run.save(LAST, resumable=True)
    run.position.finished = finished


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
        if due(config.save_interval_updates, position.update) and not (position.skipped or run.unsound):
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
    begin_folder(run)
    validate_and_keep(run)
    return True


def end_epoch(run: Run) -> None:
    """Validate and save at the end of an epoch, or where the run ends within one.

    Raises S2SError where it ends with a model that is no result; nothing is saved then.
    """
    config, plan, epoch = run.config, run.train_plan, run.position.epoch
    begin_folder(run)
    if run.position.part + 1 == plan.parts and run.position.batch == len(plan.part(epoch, run.position.part)):
        validate_and_keep(run)
        run.position.epoch, run.position.part, run.position.batch = epoch + 1, 0, 0
        if epoch == config.max_epoch:
            run.position.finished = f"--max-epoch {config.max_epoch}"
        is_over(run)
    else:
        validate_where_it_ends(run)
    if run.position.finished:
        check_result(run)
    if run.unsound:
        return
    # The last checkpoint comes last: a run that is killed in between is here once more.
    keep_epoch(run, epoch)
    if run.position.finished or not run.position.skipped:
        run.save(LAST, resumable=True)


def begin_folder(run: Run) -> None:
    """Write the last checkpoint before any other, where there is none yet.

    A folder with others and without it is taken for another run's, and the repeated command would be refused.
    """
    if not run.has_last and not run.position.skipped:
        save_where_it_stands(run)


def check_result(run: Run) -> None:
    """S2SError where the model at the end of a run is no result: its last validation, or updates, were not finite."""
    position, reason = run.position, run.unsound
    if position.skipped and not run.validated_on:
        reason = f"the last {counted(position.skipped, 'update')} had a loss or gradient that is not finite"
    if reason:
        raise S2SError(run.no_result(reason))


def validate_where_it_ends(run: Run) -> None:
    """Validate where the run ends within an epoch, having saved it as one that has yet to do that.

    If the run is resumed to go further, it must not remember a validation that it would not have made.
    """
    position, schedule = replace(run.position), run.schedule.state_dict()
    if not position.skipped:
        save_where_it_stands(run)
    validate_and_keep(run)
    run.position = position
    run.schedule.load_state_dict(schedule)


@contextmanager
def needing_data() -> Iterator[None]:
    """Raise DataLost where the dataset cannot be read any more in here; the run stands as before."""
    try:
        yield
    except S2SError as error:
        raise DataLost(str(error)) from error
    except OSError as error:
        raise DataLost(
            f"{error.filename or 'the dataset'}: cannot read: {error.strerror or error}"
        ) from error


def updates(batches: list[Indices], batches_per_update: int) -> Iterator[Group]:
    """Groups of batches whose gradients make one update."""
    stream = iter(batches)
    while group := list(islice(stream, batches_per_update)):
        yield group


def load_updates(run: Run, groups: list[Group]) -> Iterator[tuple[Group, list[MicroBatch]]]:
    """Each group with this process's share of its batches, read and padded, ahead of time where that helps."""
    shares = [share_of(run, group) for group in groups]
    jobs = [[indices for _, indices, _ in share] for share in shares]
    stream = run.loader.stream(jobs, run.position.epoch)
    for group, share in zip(groups, shares, strict=True):
        with needing_data():
            batches = next(stream)
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
            counts += item.batch.count(run.train_plan.sides)
    source, target, slots = (round(total) for total in run.processes.sum(counts.tolist()))
    return source, target, slots


def validate_and_keep(run: Run) -> None:
    """Validate, tell the schedule, and save the best checkpoint; not twice, nor without a validation split."""
    position, config = run.position, run.config
    if not run.validated_on or position.validated == position.update:
        return
    best_by = config.best_checkpoint_metric
    with needing_data():
        validation = validate(run)
    position.validated = position.update
    loss = validation.figures["loss"]
    run.unsound = "" if math.isfinite(loss) else f"the loss of validation data is {loss}"
    if run.unsound:
        warn(f"update {position.update}: {run.unsound}; nothing is saved while it is")
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
