"""Validation: the loss on the validation split and, if asked for, scores of its translation."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch

from s2scli.components import METRICS
from s2scli.data.batch import Batch
from s2scli.data.batching import load_batch
from s2scli.errors import is_out_of_memory
from s2scli.inference.input import split_lines
from s2scli.nn.runtime import give_back_freed_memory
from s2scli.notes import Summary
from s2scli.training.log import perplexity
from s2scli.training.objectives.base import COUNTS
from s2scli.training.observers import Sample
from s2scli.training.run import Run, ValidationSplit

# Lines that are translated between two checks of whether a signal has come in.
LINES_A_ROUND = 512
# What noise in validation data is drawn for: an epoch that training does not have.
_NO_EPOCH = 0


@dataclass(frozen=True)
class Validation:
    """figures: name → value, the loss in bits per token; samples: some translated lines.

    Those of other splits than the first are called SPLIT/NAME; the samples are of the first.
    """

    figures: dict[str, float]
    samples: Sequence[Sample]


def higher_is_better(figure: str) -> bool:
    """Whether a larger value of a validation figure is the better one."""
    return figure in METRICS and bool(METRICS[figure].higher_is_better)


def validate(run: Run) -> Validation:
    """All figures of a validation, each process doing its share.

    Raises Stop where a signal has come in; nothing has changed then.
    """
    figures: dict[str, float] = {}
    samples: list[Sample] = []
    with run.evaluating(), torch.no_grad():
        for part in run.data.validated_on:
            found = validation_loss(run, part)
            if run.config.metrics:
                scores, shown = translation_scores(run, part)
                found |= scores
                samples = samples or shown
            is_first = part is run.data.validated_on[0]
            figures |= {name if is_first else f"{part.split.name}/{name}": found[name] for name in found}
    return Validation(figures, samples)


def validation_loss(run: Run, part: ValidationSplit) -> dict[str, float]:
    """Loss, and perplexity from the unsmoothed loss, over a whole split."""
    batches = part.plan.in_order()
    mine = run.processes.share(batches)
    sums = [0.0] * (3 + len(run.learner.objective.figures))
    for turn in range(-(-len(batches) // run.processes.size)):
        run.stop_if_asked()
        if turn < len(mine):
            rows = mine[turn]
            batch = load_batch(part.split, rows) if part.noise is None else part.noise.load(rows, _NO_EPOCH)
            sums = _added(sums, _sums_of(run, batch.to(run.processes.device)))
    loss, nll, tokens, *figures = run.processes.sum(sums)
    others = zip(run.learner.objective.figures, figures, strict=True)
    return {
        "loss": loss / tokens / math.log(2),
        "ppl": perplexity(nll / tokens),
        **{name: value / tokens for name, value in others if name not in COUNTS},
    }


def _sums_of(run: Run, batch: Batch) -> list[float]:
    """Loss, unsmoothed loss, tokens and other figures of a batch; of its halves if it does not fit into memory."""
    try:
        part = run.learner.objective(batch, run.position.update)
        figures = [float(part.figures[name]) for name in run.learner.objective.figures]
        return [float(part.loss), float(part.nll), part.tokens, *figures]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or len(batch) == 1:
            raise
    # Outside of the handler, where the failed pass's tensors are no longer held by its traceback.
    give_back_freed_memory(run.processes.device)
    middle = len(batch) // 2
    halves = (batch.rows(slice(0, middle)), batch.rows(slice(middle, None)))
    return _added(*(_sums_of(run, half) for half in halves))


def _added(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [left + right for left, right in zip(one, other, strict=True)]


def translation_scores(run: Run, part: ValidationSplit) -> tuple[dict[str, float], list[Sample]]:
    """Scores of the translation of a split's lines, or of the first of them, and some to look at, evenly spaced."""
    first = run.config.decode_and_evaluate
    number = len(part.split) if first < 0 else first
    tokenizers = run.translator.tokenizers
    # Records need no references: the metrics have them.
    pairs = list(islice(split_lines(part.split, reads_source=True), number))
    references = [tokenizers["target"].whole_words(line.reference or "") for line in pairs]
    lines = [replace(line, reference=None) for line in pairs]
    mine = run.processes.share(lines)
    outputs: list[tuple[int, str]] = []
    summary = Summary(name=part.split.name, remedy="")
    for start in range(0, -(-len(lines) // run.processes.size), LINES_A_ROUND):
        run.stop_if_asked()
        records = run.translator.translate(mine[start : start + LINES_A_ROUND], window=LINES_A_ROUND)
        for record in records:
            outputs.append((record.id, record.text))
            summary.add(record.id, record.notes)
    summary.tell()
    shares = run.processes.gather(json.dumps(outputs).encode())
    hypotheses = [text for _, text in sorted(item for share in shares for item in json.loads(share))]
    sources = [line.text for line in lines]
    scores = {
        name: METRICS[name]().score(hypotheses, [references], sources).value for name in run.config.metrics
    }
    spacing = max(1, len(lines) // max(1, run.config.eval_samples))
    shown = range(0, len(lines), spacing)[: run.config.eval_samples]
    as_read = tokenizers["source"].whole_words if "source" in tokenizers else str
    return scores, [Sample(i, as_read(lines[i].text), hypotheses[i], references[i]) for i in shown]
