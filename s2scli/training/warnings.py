"""What is better said before the first update than found out after the last: runs whose result will say little."""

from __future__ import annotations

from s2scli.configs.presets import PRESETS
from s2scli.console import counted, notice, warn
from s2scli.data.sameness import count_shared
from s2scli.schema import spelled
from s2scli.training.progress import total_updates
from s2scli.training.run import Run

# Corpora have some sentences twice, as "Thank you."; from this share on, validation tells of training data.
_SHARED = 0.1


def warn_before_start(run: Run) -> None:
    """Warn where a run ends within its warm-up, or its schedule elsewhere than the run, and where what it validates on
    is what it is trained on; say whose the rate is where the preset's is another optimizer's."""
    if not run.processes.is_first:
        return
    position = run.position
    end = total_updates(run, len(run.data.train_plan.part(position.epoch, position.part)))
    if end is not None:
        _warn_of_warmup(run, end - position.schedule_start)
        _warn_of_schedule(run, end)
    if not position.update:
        _say_whose_rate(run)
        _warn_of_training_data(run)


def _warn_of_warmup(run: Run, length: int) -> None:
    warmup = run.config.lr_scheduler.warmup_updates
    if not warmup or length > warmup:
        return
    warn(
        f"the run ends within its warm-up: the learning rate rises for {counted(warmup, 'update')}, and there are "
        f"{length:,}; it will have learned little: give --warmup-updates {max(1, length // 10)}, or train for longer "
        "(--max-update, --max-epoch)"
    )


def _warn_of_schedule(run: Run, end: int) -> None:
    """Warn where a rate has come to its end long before the run, or began anew and does not come to it."""
    length, start = run.config.lr_scheduler.length, run.position.schedule_start
    if length and (end > start + length or (start and end < start + length)):
        warn(
            f"the learning rate comes to its end at update {start + length:,}, and the run at {end:,}; give "
            f"--total-num-update {end - start}"
        )


def _say_whose_rate(run: Run) -> None:
    optimizer, preset = run.config.optimizer, PRESETS[run.config.arch]["optimizer"]
    if optimizer.name != preset["name"] and optimizer.lr == type(optimizer).lr:
        notice(
            f"the rate {spelled(optimizer.lr)} is what {optimizer.name} has by default, as the rate of --arch "
            f"{run.config.arch} is for {preset['name']}; --lr gives another"
        )


def _warn_of_training_data(run: Run) -> None:
    for part in run.data.validated_on:
        shared = count_shared(part.split, run.data.train_split)
        if shared >= _SHARED * len(part.split):
            warn(
                f"{part.split.name}: {shared:,} of {counted(len(part.split), 'pair')} are training pairs too, so that "
                "its figures say little of other text, and --patience and the best checkpoint go by them; make the "
                "dataset with other text as --validpref, or hold some out with --valid-fraction"
            )
