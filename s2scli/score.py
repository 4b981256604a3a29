"""`s2s score`: how near system output is to its references, and whether systems differ."""

from __future__ import annotations

from s2scli.components import METRICS, MODEL_METRICS
from s2scli.configs.score import ScoreConfig
from s2scli.console import notice, warn
from s2scli.files import check_no_folder, keep_inputs
from s2scli.metrics.base import Metric, MetricOptions
from s2scli.metrics.words import bleu_tokenizer
from s2scli.needs import note_needs
from s2scli.plotting.history import read_histories
from s2scli.scoring.corpus import ScoredCorpus, read_corpus
from s2scli.scoring.results import ScoreResult, compare


def score(config: ScoreConfig) -> ScoreResult:
    """Score the output of one or more systems, with intervals and tests, and write the files that are asked for.

    Raises DataError where a file is empty, broken, or not parallel to the others; UsageError where there is
    no reference, or a metric or tokenizer cannot be used.
    """
    note_needs(config)
    for flag, output in (("--report", config.report), ("--segments", config.segments)):
        check_no_folder(flag, output)
        keep_inputs(flag, output, [*config.sys, *config.ref, config.src])
    options = MetricOptions(
        tokenize=config.tokenize,
        lowercase=config.lowercase,
        stem=config.stem,
        ignore_labels=config.ignore_labels,
    )
    metrics: dict[str, Metric] = {name: METRICS[name](options) for name in config.metrics if name in METRICS}
    # What cannot be read is said before the scores are computed.
    histories = read_histories(config.runs)
    corpus = read_corpus(config, frozenset(need for metric in metrics.values() for need in metric.needs))
    if config.path is not None:
        # torch is loaded here, and for this alone.
        from s2scli.inference.forced import ForcedScores

        forced = ForcedScores(config.path, are_raw=corpus.are_raw)
        of_model = {
            name: MODEL_METRICS[name](options, forced=forced, model=str(config.path))
            for name in config.metrics
            if name in MODEL_METRICS
        }
        metrics = {name: (metrics | of_model)[name] for name in config.metrics}
    _warn_about_tokens(config, corpus)
    if config.resamples and len(corpus) == 1:
        notice("a single line: no intervals and no tests, which draw samples of lines")
    result = compare(config, corpus, metrics)
    if config.segments is not None:
        from s2scli.scoring.lines import write_segments

        write_segments(config.segments, result)
    if config.report is not None:
        from s2scli.scoring.report import write_report

        write_report(config.report, config, result, histories)
        notice(f"the report is in {config.report}")
    return result


def show(config: ScoreConfig, result: ScoreResult) -> None:
    """Print the scores to standard output, and the lines that were asked for."""
    from s2scli.scoring.tables import render

    print(render(config, result))
    if config.worst or config.diff:
        from s2scli.scoring.lines import show_lines

        show_lines(config, result)


def _warn_about_tokens(config: ScoreConfig, corpus: ScoredCorpus) -> None:
    """Warn where the text and BLEU's tokenizer do not go together."""
    if "bleu" not in config.metrics or config.tokenize != "auto":
        return
    for name, outputs in zip(corpus.names, corpus.systems, strict=True):
        if sum(line.endswith(" .") for line in outputs) >= max(100, len(outputs) // 2):
            warn(f"{name} looks tokenized (lines end in ' .'); BLEU wants plain text")
    if (tokenize := bleu_tokenizer(corpus.references[0])) != "13a":
        kind = "Chinese" if tokenize == "zh" else "like a script without spaces between words"
        notice(f"the references look {kind}: BLEU is by --tokenize {tokenize}")
