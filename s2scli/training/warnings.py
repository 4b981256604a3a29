"""What is better said before the first update than found out after the last: runs whose result will say little."""

from __future__ import annotations

from s2scli.console import counted, warn
from s2scli.data.sameness import count_shared
from s2scli.training.progress import total_updates
from s2scli.training.run import Run

# Corpora have some sentences twice, as "Thank you."; from this share on, validation tells of training data.
_SHARED = 0.1


def warn_before_start(run: Run) -> None:
    """Warn where a run ends within its warm-up, and where what it validates on is what it is trained on."""
    if not run.processes.is_first:
        return
    _warn_of_warmup(run)
    if not run.position.update:
        _warn_of_training_data(run)


def _warn_of_warmup(run: Run) -> None:
    position, warmup = run.position, run.config.lr_scheduler.warmup_updates
    end = total_updates(run, len(run.data.train_plan.part(position.epoch, position.part)))
    if end is None or not warmup or end - position.schedule_start > warmup:
        return
    length = end - position.schedule_start
    warn(
        f"the run ends within its warm-up: the learning rate rises for {counted(warmup, 'update')}, and there are "
        f"{length:,}; it will have learned little: give --warmup-updates {max(1, length // 10)}, or train for longer "
        "(--max-update, --max-epoch)"
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
