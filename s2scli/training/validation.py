"""Validation: the loss on the validation split and, if asked for, scores of its translation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from s2scli.data.batching import BatchPlan, load_batches
from s2scli.data.dataset import Split
from s2scli.inference.engine import Engine, Line
from s2scli.metrics import METRICS
from s2scli.models.base import Model
from s2scli.record import Record
from s2scli.training.log import perplexity
from s2scli.training.objectives.base import Objective


@dataclass(frozen=True)
class Validation:
    """figures: name → value, the loss in bits per token; samples: some translated lines."""

    figures: dict[str, float]
    samples: Sequence[Record]


def higher_is_better(figure: str) -> bool:
    """Whether a larger value of a validation figure is the better one."""
    return figure in METRICS and bool(METRICS[figure].higher_is_better)


def validation_loss(
    model: Model, objective: Objective, split: Split, plan: BatchPlan, device: torch.device
) -> dict[str, float]:
    """Loss, and perplexity from the unsmoothed loss, over a whole split."""
    loss = nll = 0.0
    tokens = 0
    with torch.no_grad():
        for batch in load_batches(split, plan.in_order()):
            sums = objective(model, batch.to(device))
            loss += float(sums.loss)
            nll += float(sums.nll)
            tokens += sums.tokens
    return {"loss": loss / tokens / math.log(2), "ppl": perplexity(nll / tokens)}


def translate_split(
    engine: Engine, split: Split, metrics: Sequence[str]
) -> tuple[dict[str, float], list[Record]]:
    """Scores of the split's translation, and its records."""
    pairs = zip(split.texts("source"), split.texts("target"), strict=True)
    lines = (Line(number, source, reference) for number, (source, reference) in enumerate(pairs))
    records = list(engine.translate(lines, window=len(split)))
    hypotheses = [record.text for record in records]
    references = [[record.reference or "" for record in records]]
    return {name: METRICS[name]().score(hypotheses, references).value for name in metrics}, records


def validate(
    model: Model,
    objective: Objective,
    split: Split,
    plan: BatchPlan,
    engine: Engine,
    *,
    metrics: Sequence[str],
    num_samples: int,
) -> Validation:
    """All figures of a validation; the model is left in training mode."""
    model.eval()
    figures = validation_loss(model, objective, split, plan, engine.device)
    samples: list[Record] = []
    if metrics:
        scores, records = translate_split(engine, split, metrics)
        figures |= scores
        spacing = max(1, len(records) // max(1, num_samples))
        samples = records[::spacing][:num_samples]
    model.train()
    return Validation(figures, samples)
