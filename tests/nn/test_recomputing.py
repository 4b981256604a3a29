"""--checkpoint-activations and LayerDrop: the same bits as without, and after a stop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import CONVOLUTIONAL, LANGUAGE_MODEL, LUONG, TRANSFORMER, Trainer, assert_same_run, text_columns

from s2scli.data.dataset import Dataset
from s2scli.errors import UsageError
from s2scli.models.factory import build_model
from s2scli.nn import recomputing
from s2scli.nn.dropout import kept_layers
from s2scli.training.building import make_run
from s2scli.training.distributed import Processes
from s2scli.training.signals import StopSignals

FAMILIES = {
    "transformer": TRANSFORMER | {"model.encoder_layers": 2, "model.attention_window": 4},
    "copying": TRANSFORMER | {"arch": "transformer_tiny_copy"},
    "convolutional": CONVOLUTIONAL,
    "language model": LANGUAGE_MODEL,
}
DROPPING = TRANSFORMER | {
    "model.encoder_layers": 3,
    "model.decoder_layers": 3,
    "model.encoder_layerdrop": 0.4,
    "model.decoder_layerdrop": 0.4,
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_recomputing_gives_the_same_bits(
    trained: Trainer, family: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all kinds of dropout, which are drawn twice then."""
    settings = FAMILIES[family] | {"max_update": 4, "precision": precision}
    trained("plain", **settings)
    calls = 0
    plain = recomputing.checkpoint

    def checkpoint(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return plain(*arguments, **options)

    monkeypatch.setattr(recomputing, "checkpoint", checkpoint)
    trained("recomputed", **settings, checkpoint_activations=True)
    assert calls >= 4
    assert_same_run(trained.checkpoint("plain"), trained.checkpoint("recomputed"))


def test_recomputing_keeps_less(trained: Trainer) -> None:
    """Of what the layers compute, the bytes kept for the gradient."""
    kept = {}
    for recompute in (False, True):
        settings = DROPPING | {"model.encoder_layerdrop": 0.0, "model.decoder_layerdrop": 0.0}
        run = make_run(
            trained.config(f"run {recompute}", **settings, checkpoint_activations=recompute),
            Processes(torch.device("cpu")),
            StopSignals(),
        )
        batch = next(iter(run.data.loader.stream([[run.data.train_plan.part(1)[0]]], 1)))[0]
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run.learner.objective(batch, 1)
        kept[recompute] = total
        run.data.loader.close()
        run.observers.close()
    assert kept[True] < 0.6 * kept[False]


def test_a_model_without_layers_is_named(trained: Trainer) -> None:
    with pytest.raises(UsageError, match=r"--checkpoint-activations: this model has no layers"):
        trained("run", **LUONG, checkpoint_activations=True)
    with pytest.raises(UsageError, match=r"--compile and --checkpoint-activations: .*give one of them"):
        trained.config("run", **TRANSFORMER, checkpoint_activations=True, compile=True)


def test_layers_are_dropped_as_often_as_asked() -> None:
    torch.manual_seed(3)
    drawn = torch.tensor([kept_layers(5, 0.3, training=True) for _ in range(4000)]).double()
    # Five standard deviations of the mean of 4,000 draws.
    assert (drawn.mean(0) - 0.7).abs().max() < 5 * (0.21 / 4000) ** 0.5
    assert abs(torch.corrcoef(drawn.T).triu(1)).max() < 0.1
    assert kept_layers(5, 0.3, training=False) == [True] * 5
    assert kept_layers(5, 0.0, training=True) == [True] * 5


def test_a_pass_is_that_of_the_layers_that_are_kept(trained: Trainer) -> None:
    """Against a model that has those layers alone, with the same weights."""
    from s2scli.data.batching import load_batch

    config = trained.config("run", **DROPPING, **{"model.dropout": 0.0}).model
    config = type(config)(**{**vars(config), "attention_dropout": 0.0, "activation_dropout": 0.0})
    data = Dataset.open(trained.data)
    size = len(data.tokenizer("source"))
    torch.manual_seed(1)
    model = build_model(config, text_columns(size, size))
    batch = load_batch(data.split("train"), torch.arange(4).numpy())
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        kept = [kept_layers(3, 0.4, training=True) for _ in range(2)]
        seen.add(str(kept))
        torch.manual_seed(seed)
        states = model.train()(batch)
        torch.manual_seed(1)
        other = build_model(config, text_columns(size, size)).eval()
        for name, chosen in zip(("encoder_layers", "decoder_layers"), kept, strict=True):
            layers = getattr(other, name)
            setattr(other, name, torch.nn.ModuleList(layers[i] for i in range(3) if chosen[i]))
        torch.testing.assert_close(states, other(batch), rtol=1e-5, atol=1e-6)
    assert len(seen) > 4


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lion"])
def test_layerdrop_goes_on_as_if_there_had_been_no_stop(trained: Trainer, optimizer: str) -> None:
    """Some layers are skipped by all of the first update; the optimizer takes their gradient for zero."""
    settings = DROPPING | {"optimizer.name": optimizer, "optimizer.lr": 0.001, "lr_scheduler.name": "fixed"}
    trained("whole", **settings, max_update=12)
    for stop in (1, 5):
        trained("parts", **settings, max_update=stop)
    trained("parts", **settings, max_update=12, checkpoint_activations=True)
    assert_same_run(trained.checkpoint("whole"), trained.checkpoint("parts"), ignore=("stale",))
