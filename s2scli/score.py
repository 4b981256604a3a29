"""`s2s score`: how near system output is to its references."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.configs.score import ScoreConfig
from s2scli.console import warn
from s2scli.errors import DataError, UsageError
from s2scli.io import STDIN, read_lines
from s2scli.metrics import METRICS
from s2scli.metrics.base import MetricOptions, Score
from s2scli.record import VERSION

# Han, kana: scripts without spaces between words.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """The scores, in the order of the config's metrics, over so many segments."""

    scores: tuple[Score, ...]
    segments: int


def score(config: ScoreConfig) -> ScoreResult:
    """Score system output against one or more references, with sacrebleu's numbers and signatures.

    Raises DataError where a file is empty, broken, or not parallel to the others; UsageError where there is
    no reference or the tokenizer cannot be used.
    """
    if not config.metrics:
        raise UsageError(f"--metrics must name a metric; known: {', '.join(METRICS)}")
    options = MetricOptions(tokenize=config.tokenize, lowercase=config.lowercase)
    metrics = [METRICS[name](options) for name in config.metrics]
    if STDIN in config.ref and (config.sys == STDIN or config.ref.count(STDIN) > 1):
        raise UsageError("standard input (-) can be read once only; give a file to --sys or --ref")
    hypotheses, recorded = _read_system(config)
    if config.ref:
        references = [_read_reference(path, config.sys, len(hypotheses)) for path in config.ref]
    elif recorded is not None:
        references = [recorded]
    else:
        raise UsageError("--ref must be given: reference files, parallel to the system output")
    _warn_about_tokens(config, hypotheses, references[0])
    return ScoreResult(
        scores=tuple(metric.score(hypotheses, references) for metric in metrics), segments=len(hypotheses)
    )


def show(config: ScoreConfig, result: ScoreResult) -> None:
    """Print the scores to standard output: a line each, or a JSON list."""
    if config.format == "json":
        scores = [_as_json(item, config.width) for item in result.scores]
        print(json.dumps(scores, ensure_ascii=False, indent=1))
        return
    values = [f"{item.value:.{config.width}f}" for item in result.scores]
    name_width = max(len(item.name) for item in result.scores)
    value_width = max(len(value) for value in values)
    for item, value in zip(result.scores, values, strict=True):
        print(f"{item.name:<{name_width}}  {value:>{value_width}}  {item.signature}")


def _as_json(item: Score, width: int) -> dict[str, Any]:
    return {
        "name": item.name,
        "score": round(item.value, width),
        "signature": item.signature,
        "higher_is_better": item.higher_is_better,
        "details": dict(item.details),
    }


def _name(path: Path) -> str:
    return "standard input" if path == STDIN else str(path)


def _read_system(config: ScoreConfig) -> tuple[list[str], list[str] | None]:
    """Read the system output, and the references that came with it if every record holds one."""
    is_records = config.sys_format == "jsonl" or (
        config.sys_format == "auto" and config.sys.name.removesuffix(".gz").endswith(".jsonl")
    )
    lines = list(read_lines(config.sys))
    if not lines:
        raise DataError(f"{_name(config.sys)}: the system output is empty")
    if not is_records:
        return lines, None
    name = _name(config.sys)
    records = [_parse_record(line, f"{name}:{number}") for number, line in enumerate(lines, start=1)]
    references = [record["reference"] for record in records if isinstance(record.get("reference"), str)]
    if not config.ref and len(references) < len(records):
        raise UsageError(
            f"--ref must be given: {len(records) - len(references)} records of {name} hold no reference"
        )
    return [record["text"] for record in records], references


def _parse_record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        problem = f"not a JSON record ({error}); for plain lines give --sys-format text"
        raise DataError(f"{where}: {problem}") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise DataError(f'{where}: the record has no field "text"')
    if record.get("version", VERSION) != VERSION:
        raise DataError(f"{where}: the record is of version {record['version']}; this s2s reads {VERSION}")
    return record


def _read_reference(path: Path, system: Path, segments: int) -> list[str]:
    lines = list(read_lines(path))
    if not lines:
        raise DataError(f"{_name(path)}: the reference is empty")
    if len(lines) != segments:
        raise DataError(
            f"{_name(system)} has {segments} lines but {_name(path)} has {len(lines)}; they must be parallel"
        )
    return lines


def _warn_about_tokens(config: ScoreConfig, hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Warn where the text and BLEU's tokenizer do not go together."""
    if "bleu" not in config.metrics or config.tokenize != "auto":
        return
    if sum(line.endswith(" .") for line in hypotheses) >= max(100, len(hypotheses) // 2):
        warn(f"{_name(config.sys)} looks tokenized (lines end in ' .'); BLEU wants plain text")
    sample = "".join(references[:1000])
    if len(_UNSPACED.findall(sample)) > 0.3 * len(sample) > 0:
        warn("the references look Chinese or Japanese; for BLEU over words give --tokenize zh or ja-mecab")
