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
from s2scli.training.ending import begin_to_count, count_time, reached_limit
from s2scli.training.keeping import keep_best, keep_epoch, keep_update
from s2scli.training.log import Window
from s2scli.training.micro_batch import MicroBatch
from s2scli.training.observers import ValidationReport
from s2scli.training.progress import report_progress, total_updates
from s2scli.training.run import Run
from s2scli.training.signals import Stop
from s2scli.training.validation import higher_is_better, validate

Group = list[Indices]


class DataLost(Exception):  # noqa: N818 (what happened, not an error of the run)
    """What a run reads, or validates with, is not there or not right any more; the run itself is as it was."""


def run_training(run: Run, finished: str = "") -> str:
    """Train until a limit is reached or an observer asks for a stop; returns why the run has ended.

    finished: why nothing is left to do, if so.
    Raises Interrupted, the run being saved, where a signal said so.
    """
    run.learner.objective.train()
    run.signals.prepared = True
    begin_to_count(run)
    try:
        while not finished:
            try:
                finished = train_epoch(run)
            except WentBack:
                continue
        run.observers.ended(run.position.update, finished)
        return finished
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
        run.data.loader.close()
        run.observers.close()


def save_where_it_stands(run: Run) -> None:
    """Write the last checkpoint of a run that is not at its end; S2SError where its model is no result.

    Where the last update is made but its validation is not, there is something left to do, so it is not at its end.
    """
    if run.unsound:
        raise S2SError(run.no_result(run.unsound))
    run.save(LAST, resumable=True)


def train_epoch(run: Run) -> str:
    """Go through what is left of the current epoch, then validate and save; returns why the run ends, or nothing.

    The last checkpoint is not written while updates are being skipped: it is what a run goes back to, so it should
    be from before those.
    """
    position = run.position
    finished = reached_limit(run)
    # The run may have been stopped between an update and the validation that was due after it.
    if not finished and (position.part or position.batch) and validation_is_due(run):
        finished = validate_within_epoch(run)
    while not finished:
        finished = train_part(run)
        if finished or position.part + 1 == run.data.train_plan.parts:
            break
        position.part, position.batch = position.part + 1, 0
    return end_epoch(run, finished)


def train_part(run: Run) -> str:
    """Go through what is left of the current part of the epoch; returns why the run ends within it, or nothing."""
    position, config = run.position, run.config
    batches = run.data.train_plan.part(position.epoch, position.part)
    groups = list(updates(batches[position.batch :], run.batches_per_update))
    window = Window(started=time.perf_counter())
    for group, micro_batches in load_updates(run, groups):
        make_update(run, group, micro_batches, window)
        position.batch += len(group)
        count_time(run)
        if position.update % config.log_interval == 0 or position.update == 1:
            report_progress(run, window, len(batches))
            window = Window(started=time.perf_counter())
        run.observers.updated(position.update, total_updates(run, len(batches)))
        is_saved = due(config.save_interval_updates, position.update) and not (
            position.skipped or run.unsound
        )
        if is_saved and config.keep_interval_updates:
            # Also where the run ends, or is stopped, with this update.
            begin_folder(run)
            keep_update(run)
        if finished := reached_limit(run):
            return finished
        run.stop_if_asked()
        if validation_is_due(run):
            # What a validation tells the schedule can end the run too.
            if finished := validate_within_epoch(run) or reached_limit(run):
                return finished
            window = Window(started=time.perf_counter())
        if is_saved and not run.unsound:
            run.save(LAST, resumable=True)
    return ""


def due(interval: int, update: int) -> bool:
    """Whether something that is done every so many updates (0: never) is to be done now."""
    return interval > 0 and update % interval == 0


def validation_is_due(run: Run) -> bool:
    """Whether --validate-interval-updates asks for a validation after this update."""
    return due(run.config.validate_interval_updates, run.position.update)


def validate_within_epoch(run: Run) -> str:
    """Validate between two updates of an epoch; returns why the run is to stop, or nothing."""
    begin_folder(run)
    return validate_and_keep(run)


def end_epoch(run: Run, finished: str) -> str:
    """Validate and save at the end of an epoch, or where the run ends within one; returns why it ends, or nothing.

    finished: why the run ends before the end of the epoch, or with its last update. Raises S2SError where it ends with
    a model that is no result; nothing is saved then.
    """
    config, plan, epoch = run.config, run.data.train_plan, run.position.epoch
    begin_folder(run)
    if run.position.part + 1 == plan.parts and run.position.batch == len(plan.part(epoch, run.position.part)):
        finished = validate_and_keep(run, finished) or finished
        run.position.epoch, run.position.part, run.position.batch = epoch + 1, 0, 0
        if epoch == config.max_epoch:
            finished = f"--max-epoch {config.max_epoch}"
        finished = finished or reached_limit(run)
    else:
        validate_where_it_ends(run, finished)
    if finished:
        check_result(run)
    if run.unsound:
        return finished
    # The last checkpoint comes last: a run that is killed in between is here once more.
    keep_epoch(run, epoch, finished)
    if finished or not run.position.skipped:
        run.save(LAST, resumable=True, finished=finished)
    return finished


def begin_folder(run: Run) -> None:
    """Write the last checkpoint before any other, where there is none yet.

    A folder with others and without it is taken for another run's, and the repeated command would be refused.
    """
    if not run.has_last and not run.position.skipped:
        save_where_it_stands(run)


def check_result(run: Run) -> None:
    """S2SError where the model at the end of a run is no result: its last validation, or updates, were not finite."""
    position, reason = run.position, run.unsound
    if position.skipped and not run.data.validated_on:
        reason = f"the last {counted(position.skipped, 'update')} had a loss or gradient that is not finite"
    if reason:
        raise S2SError(run.no_result(reason))


def validate_where_it_ends(run: Run, finished: str) -> None:
    """Validate where the run ends within an epoch, having saved it as one that has yet to do that.

    If the run is resumed to go further, it must not remember a validation that it would not have made.
    finished: why it ends.
    """
    position, schedule = replace(run.position), run.learner.schedule.state_dict()
    if not position.skipped:
        save_where_it_stands(run)
    validate_and_keep(run, finished)
    run.position = position
    run.learner.schedule.load_state_dict(schedule)


@contextmanager
def needing_data() -> Iterator[None]:
    """Raise DataLost for what goes wrong in here, be it the data or what validating needs; the run stands as before."""
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
    stream = run.data.loader.stream(jobs, run.position.epoch)
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
    # Shards are gathered in every pass, which all processes must make: one without a batch left takes one that does not
    # count.
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
    result = run.learner.updater.update(
        position.update,
        [item.to(run.processes.device) for item in micro_batches],
        tokens=target_tokens,
        rate=run.rate(),
        log_norms=config.log_grad_norms and logged,
    )
    watch(run, result, group)
    if not result.finite:
        return
    if run.learner.average is not None:
        run.learner.average.update(position.update)
    window.updates += 1
    window.loss += result.loss
    window.nll += result.nll
    window.figures.update(result.figures)
    window.gradient_norm += result.gradient_norm
    window.source_tokens += source_tokens
    window.target_tokens += target_tokens
    window.slots += slots
    if result.norms:
        run.observers.measured(position.update, result.norms)


def count_tokens(run: Run, group: Group, micro_batches: list[MicroBatch]) -> tuple[int, int, int]:
    """Source tokens and target tokens of an update, and the positions of both sides, over all processes.

    Where sentences are sampled, each process knows the lengths of those that it has loaded only.
    """
    if not run.data.loader.samples:
        return run.data.train_plan.count(group)
    counts = np.zeros(3, np.int64)
    for item in micro_batches:
        if item.counts:
            counts += item.batch.count(run.data.train_plan.sides)
    source, target, slots = (round(total) for total in run.processes.sum(counts.tolist()))
    return source, target, slots


def validate_and_keep(run: Run, finished: str = "") -> str:
    """Validate, tell the schedule and the observers, and save the best checkpoint; returns why to stop, or nothing.

    Nothing is done without a validation split, nor twice after one update. finished: why the run ends with this update,
    if it does.
    """
    position, schedule = run.position, run.learner.schedule
    if not run.data.validated_on or position.validated == position.update:
        return ""
    with needing_data():
        validation = validate(run)
    position.validated = position.update
    loss = validation.figures["loss"]
    run.unsound = "" if math.isfinite(loss) else f"the loss of validation data is {loss}"
    if run.unsound:
        warn(f"update {position.update}: {run.unsound}; nothing is saved while it is")
    best_by = run.config.best_checkpoint_metric
    figure, upward = validation.figures[best_by], higher_is_better(best_by)
    schedule.validated(figure, higher_is_better=upward)
    # Where its first updates are skipped, a run has no last checkpoint, which comes before any other.
    is_kept = not run.unsound and run.has_last
    is_best = is_kept and is_better(figure, position.best, upward=upward)
    position.stale = 0 if is_best else position.stale + 1
    if is_best:
        position.best = figure
    reason = run.observers.validated(
        ValidationReport(
            epoch=position.epoch,
            update=position.update,
            figures=validation.figures,
            split=run.data.validated_on[0].split.name,
            is_best=is_best,
            since_best=position.stale,
            samples=validation.samples,
        )
    )
    if is_kept:
        keep_best(run, figure, finished)
    if is_best:
        run.save(BEST, resumable=False, finished=finished)
    count_time(run)
    return reason


def is_better(figure: float, best: float | None, *, upward: bool) -> bool:
    """Whether a validation figure is better than the best so far, None: there is none; one that is NaN never is."""
    if math.isnan(figure):
        return False
    return best is None or (figure > best if upward else figure < best)
