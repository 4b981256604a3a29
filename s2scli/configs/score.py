"""The settings of `s2s score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.components import METRICS, MODEL_METRICS
from s2scli.configs.command import CommandConfig
from s2scli.errors import UsageError
from s2scli.registry import Names
from s2scli.schema import setting

# sacrebleu's; the help is printed without importing it.
_SPLITTERS = ("13a", "char", "intl", "ja-mecab", "ko-mecab", "none", "zh")
SUBWORD = ("spm", "flores101", "flores200", "spBLEU-1K")
TOKENIZERS = (*_SPLITTERS, *SUBWORD)
ROUGE_NAMES = ("rouge1", "rouge2", "rougel", "rougelsum")
OF_SACREBLEU = ("bleu", "chrf", "chrf++", "ter")
_LINES = "Lines and breakdowns"


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(CommandConfig):
    """What to score, against what, and how."""

    data: Path | None = setting(
        None, "dataset folder whose split has the references, and the sources", argument=True
    )
    gen_subset: str = setting("test", "split of the dataset folder", needs="data")
    sys: tuple[Path, ...] = setting(
        (Path("-"),),
        "system output, one segment a line; of several systems the first is what the others are compared with; "
        "-: standard input; may be .gz",
        short="-s",
    )
    ref: tuple[Path, ...] = setting(
        (),
        "reference files, parallel to the system output; of several a blank line is none; a .jsonl has a list of "
        "texts a line, or a record with one; may be .gz",
        short="-r",
    )
    src: Path | None = setting(None, "sources, parallel to the system output, for copy_rate and --path")
    sys_format: str = setting(
        "auto",
        "plain lines, or the records of `s2s generate --format jsonl`, whose references and sources count where none "
        "are given; auto goes by the ending .jsonl",
        choices=("auto", "text", "jsonl"),
    )
    metrics: tuple[str, ...] = setting(
        ("bleu", "chrf", "ter"), "metrics to compute", choices=Names(METRICS, MODEL_METRICS)
    )
    path: Path | None = setting(
        None,
        "checkpoint, or run folder, by which ppl and bpc find the system output probable",
        needs="metrics=ppl,bpc",
    )
    tokenize: str = setting(
        "auto",
        "sacrebleu's tokenizer for BLEU; auto is what fits the references: 13a, zh where they look Chinese, char where "
        "they look Japanese, Thai, Lao, Burmese or Khmer; other metrics over words take characters there, with "
        "zh, ja-mecab and char too",
        choices=("auto", *TOKENIZERS),
    )
    lowercase: bool = setting(False, "ignore case; TER, ROUGE, exact_match and f1 always do")
    stem: bool = setting(
        False,
        "cut English endings off words in ROUGE (Porter's stemmer)",
        needs=f"metrics={','.join(ROUGE_NAMES)}",
    )
    ignore_labels: tuple[str, ...] = setting(
        (), "labels whose spans do not count in span_f1, as V", needs="metrics=span_f1"
    )
    resamples: int = setting(
        1000, "samples behind each interval and p-value; 0: scores only", at_least=0, at_most=1_000_000
    )
    seed: int = setting(12345, "of the samples", at_least=0, needs="resamples!=0")
    format: str = setting(
        "table", "how to print the scores", choices=("table", "json", "csv", "markdown", "latex")
    )
    width: int = setting(2, "decimals of a score", at_least=0, at_most=17)
    worst: int = setting(
        0,
        "show so many lines that score worst by the first metric, beside their references; with several systems "
        "those that lose most; where wer, cer or per is asked for, also each system's worst lines by it, aligned",
        at_least=0,
        panel=_LINES,
    )
    diff: bool = setting(
        False,
        "show the lines whose score differs most from the first system's: ten, or as many as --worst says",
        panel=_LINES,
    )
    by_length: bool = setting(False, "scores by length of the reference too", panel=_LINES)
    groups: Path | None = setting(
        None,
        "scores by group too: a file parallel to the system output with a label a line, or several, tab-separated, "
        "perhaps under a line with their names; or JSON records, a .jsonl",
        panel=_LINES,
    )
    group_by: tuple[str, ...] = setting(
        (),
        "columns of --groups by name or number, all if not given; or fields of its records, or, without --groups, of "
        "the records of the first system",
        panel=_LINES,
    )
    segments: Path | None = setting(
        None, "write the scores of each line: JSON lines where the name ends so, otherwise TSV", panel=_LINES
    )
    report: Path | None = setting(
        None,
        "write a page of HTML: scores, lengths and lines, which words are found, what is made up, said again or not "
        "translated, and whether probabilities are right",
        panel=_LINES,
    )
    runs: tuple[Path, ...] = setting(
        (),
        "run folders, or their log.jsonl, whose learning curves the report shows",
        needs="report",
        panel=_LINES,
    )

    def __post_init__(self) -> None:
        if not self.metrics:
            raise UsageError(f"--metrics must name a metric; known: {', '.join(METRICS)}")
        if len(set(self.metrics)) < len(self.metrics):
            raise UsageError(f"--metrics {','.join(self.metrics)}: names one of them twice")
        of_model = [name for name in self.metrics if name in MODEL_METRICS]
        if of_model and self.path is None:
            raise UsageError(f"--metrics {','.join(of_model)}: asks a model; give its checkpoint as --path")
        if len(set(self.group_by)) < len(self.group_by):
            raise UsageError(f"--group-by {','.join(self.group_by)}: names one of them twice")
        if self.diff and len(self.sys) < 2:
            raise UsageError("--diff: compares systems; give --sys several files")
        inputs = [*self.sys, *self.ref, *(path for path in (self.src, self.groups) if path is not None)]
        if inputs.count(Path("-")) > 1:
            raise UsageError("standard input (-) can be read once only; give files for the others")
        if not self.sys:
            raise UsageError("--sys must name a file; -: standard input")
