"""What becomes of fairseq's flags that s2s does not have, for those who type them from habit."""

from __future__ import annotations

_WHOLE_TEXT = "output is whole text, with its words joined again"
_CHECKPOINT_KNOWS = "the checkpoint knows"
_LINE_BY_LINE = "a language model reads text line by line"
_DATASET_KNOWS = "the dataset folder knows"

_HERE = {
    "--fp16": "--precision fp16",
    "--memory-efficient-fp16": "--precision fp16",
    "--bf16": "--precision bf16",
    "--memory-efficient-bf16": "--precision bf16",
    "--cpu": "--device cpu",
    "--max-sentences": "--batch-size",
    "--eval-bleu": "--eval-metrics bleu",
    "--eval-bleu-print-samples": "--eval-samples N",
    "--validate-interval": "--validate-interval-updates N",
    "--save-interval": "--save-interval-updates N",
    "--no-epoch-checkpoints": "--keep-last-epochs 0",
    "--ddp-backend": "--distributed ddp, or fsdp, under torchrun",
    "--distributed-world-size": "torchrun --nproc-per-node N -m s2scli train",
    "--tensorboard-logdir": "--tensorboard",
    "--store-ema": "--ema-decay",
    "--log-format": "--format jsonl; s2s train writes log.jsonl into --save-dir",
    "--bpe": "s2s preprocess --tokenizer",
    "--tokenizer-model": "s2s preprocess --tokenizer",
    "--scoring": "s2s score",
    "--sacrebleu": "s2s score",
    "--results-path": "--output FILE",
    "--buffer-lines": "--buffer-size",
    "--skip-invalid-size-inputs-valid-test": "s2s preprocess --max-source-length N --on-long truncate",
    "--truncate-source": "--max-source-length N",
    "--max-source-positions": "s2s preprocess --max-source-length N",
    "--max-target-positions": "s2s preprocess --max-target-length N",
    "--only-source": "s2s preprocess --only-target",
    "--dict": "s2s preprocess --srcdict and --tgtdict",
}
_LEAVE_OUT = {
    "--remove-bpe": _WHOLE_TEXT,
    "--post-process": _WHOLE_TEXT,
    "--task": "the dataset folder and --arch say it",
    "--sample-break-mode": _LINE_BY_LINE,
    "--tokens-per-sample": _LINE_BY_LINE,
    "--user-dir": "models and the like are added in the source, a file and a line each (CONTRIBUTING.md)",
    "--source-lang": _CHECKPOINT_KNOWS,
    "--target-lang": _CHECKPOINT_KNOWS,
    "--no-progress-bar": "a bar is shown on a terminal only",
    "--quiet": "standard output holds the translations alone",
    "--maximize-best-checkpoint-metric": "each metric knows which way is better",
    "--dataset-impl": _DATASET_KNOWS,
    "--left-pad-source": "padding changes no result",
    "--num-workers": "batches are read ahead where that helps",
    "--update-epoch-batch-itr": "every epoch is shuffled anew",
}


def what_instead(name: str) -> str:
    """What to use in place of a flag of fairseq's, as a hint that ends a message; empty for other flags."""
    if name in _HERE:
        return f"fairseq's {name} is {_HERE[name]} here"
    return f"leave it out: {_LEAVE_OUT[name]}" if name in _LEAVE_OUT else ""
