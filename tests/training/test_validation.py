"""Validation figures against torch's cross-entropy sentence by sentence, and against sacrebleu itself."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import sacrebleu
import torch
from fairseq_symbols import EOS, pad_sequences
from torch.nn import functional as F
from toys import BAHDANAU, TRANSFORMER, Trainer, write_dataset

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch
from s2scli.search.decoding import search
from s2scli.training.building import make_run
from s2scli.training.distributed import Processes
from s2scli.training.log import duration, perplexity
from s2scli.training.signals import StopSignals
from s2scli.training.validation import higher_is_better, validate

CPU = torch.device("cpu")
FAMILIES = {"transformer": TRANSFORMER, "recurrent": BAHDANAU}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_figures(tmp_path: Path, family: str) -> None:
    # Few sentences: random weights write as long as they may.
    trained = Trainer(write_dataset(tmp_path, sizes=(40, 8, 0)), tmp_path)
    settings = {"objective.label_smoothing": 0.2, "eval_beam": 2, "max_tokens": 60}
    settings |= {"eval_metrics": "bleu,chrf,ter"}
    run = make_run(trained.config("run", **FAMILIES[family] | settings), Processes(CPU), StopSignals())
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in run.learner.parameters.values():
            parameter += 0.6 * torch.randn(parameter.shape)
    model, split, tokenizer = (
        run.learner.model,
        run.data.validated_on[0].split,
        run.translator.tokenizers["target"],
    )
    assert split is not None
    size = len(tokenizer)
    run.learner.objective.train()
    validation = validate(run)
    assert model.training
    model.eval()
    loss, nll, tokens, outputs = 0.0, 0.0, 0, []
    for index in range(len(split)):
        source, target = split.ids("source", index).tolist(), split.ids("target", index).tolist()
        pair = Batch(pad_sequences([source]), pad_sequences([target]))
        with torch.inference_mode():
            logits = model.output(model(pair))[0].double()
            ((best, *_),) = search(model, pair.source, SearchConfig(beam=2))
        labels = torch.tensor([*target, EOS])
        loss += F.cross_entropy(
            logits, labels, reduction="sum", label_smoothing=0.2 * size / (size - 1)
        ).item()
        nll += F.cross_entropy(logits, labels, reduction="sum").item()
        tokens += len(target) + 1
        outputs.append(tokenizer.decode(best.ids[:-1]))
    references = list(split.texts("target"))
    assert validation.figures["loss"] == pytest.approx(loss / tokens / math.log(2), rel=1e-5)
    assert validation.figures["ppl"] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    assert validation.figures["bleu"] == pytest.approx(sacrebleu.corpus_bleu(outputs, [references]).score)
    assert validation.figures["chrf"] == pytest.approx(sacrebleu.corpus_chrf(outputs, [references]).score)
    assert validation.figures["ter"] == pytest.approx(sacrebleu.corpus_ter(outputs, [references]).score)
    assert len(validation.samples) == 3
    for record in validation.samples:
        assert (record.source, record.reference) == (split.text("source", record.id), references[record.id])
        assert record.text == outputs[record.id]


def test_which_figures_rise() -> None:
    assert [higher_is_better(figure) for figure in ("loss", "ppl", "bleu", "chrf", "ter")] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_formats() -> None:
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert perplexity(1e6) == math.inf
    assert [duration(seconds) for seconds in (0.4, 59.6, 3723, 360000)] == [
        "0:00:00",
        "0:01:00",
        "1:02:03",
        "100:00:00",
    ]
