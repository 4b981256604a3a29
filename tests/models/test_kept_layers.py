"""A Transformer of some of its layers, as LayerDrop has trained it for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toys import (
    copyable,
    random_ids,
    random_model,
    random_tokens,
    small_recurrent,
    small_transformer,
    small_transformer_lm,
)

from s2scli.configs.generate import GenerateConfig
from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.inference.loading import make_translator
from s2scli.inference.torch_engine import TorchEngine
from s2scli.schema import build
from s2scli.search.decoding import search


def test_it_is_the_model_of_those_layers_alone() -> None:
    config = small_transformer(encoder_layers=4, decoder_layers=3)
    whole = random_model(config, 11, 11)
    whole.keep_layers("encoder", (3, 0))
    whole.keep_layers("decoder", (1,))
    small = random_model(small_transformer(encoder_layers=2, decoder_layers=1), 11, 11, seed=9)
    weights = whole.state_dict()
    small.load_state_dict({name: weights[name] for name in small.state_dict()})
    first = random_model(config, 11, 11).encoder_layers
    assert torch.equal(whole.encoder_layers[1].feed_forward.inner.weight, first[3].feed_forward.inner.weight)
    batch = Batch(random_tokens([5, 3], 11), random_tokens([4, 6], 11, seed=1))
    torch.testing.assert_close(whole(batch), small(batch))
    one, other = (search(model, batch.source, SearchConfig(beam=3)) for model in (whole, small))
    assert [[item.ids for item in outputs] for outputs in one] == [
        [item.ids for item in outputs] for outputs in other
    ]


def test_the_layer_that_points_stays() -> None:
    model = random_model(small_transformer(copy=True, decoder_layers=3, alignment_layer=2), 13, 11)
    with pytest.raises(UsageError, match=r"--decoder-layers-to-keep 0,1: layer 2 says what to copy"):
        model.keep_layers("decoder", (0, 1))
    model.keep_layers("decoder", (0, 2))
    assert model.copy_layer == 1
    batch = Batch(copyable(random_ids([4, 2], 13), 11), random_tokens([3, 3], 11))
    torch.testing.assert_close(model.output(model(batch)).exp().sum(-1), torch.ones(2, 4))


@pytest.mark.parametrize(
    ("model", "side", "message"),
    [
        (
            random_model(small_transformer(), 9, 9),
            "encoder",
            "the model has 2 encoder layers; allowed: 0 to 1",
        ),
        (random_model(small_transformer_lm(), 0, 9), "encoder", "a language model has no encoder"),
        (random_model(small_recurrent(), 9, 9), "decoder", "is for Transformers"),
    ],
)
def test_what_cannot_be_is_refused(model: Any, side: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"--{side}-layers-to-keep 0,2: .*{message}"):
        model.keep_layers(side, (0, 2))


def test_the_command_takes_them(toy_runs: Path) -> None:
    values = {"path": toy_runs / "transformer", "device": "cpu", "encoder_layers_to_keep": "0"}
    engine = make_translator(build(GenerateConfig, values)).engine
    assert isinstance(engine, TorchEngine)
    (member,) = engine.model.members
    assert isinstance(member.encoder_layers, nn.ModuleList)
    with pytest.raises(UsageError, match="--decoder-layers-to-keep 4"):
        make_translator(build(GenerateConfig, values | {"decoder_layers_to_keep": "4"}))
