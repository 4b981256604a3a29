"""Generating with adapters: merged, beside the weights, and another one for each record of a batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_runs import KINDS, given, make_adapted
from generating import SENTENCES, Generator
from torch import Tensor
from torch.nn import functional as F
from toys import LANGUAGE_MODEL, TRANSFORMER, Trainer, write_dataset

from s2scli.average import average
from s2scli.checkpoint import (
    load_adapter,
    load_checkpoint,
    restore_config,
    restore_model,
)
from s2scli.checkpoint_file import BEST
from s2scli.configs.average import AverageConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import S2SError, UsageError
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.models.adapters import attach
from s2scli.schema import build


@pytest.fixture(scope="module")
def adapted(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run "base" with its adapters, and another run."""
    root = make_adapted(toy_data, tmp_path_factory.mktemp("adapted"))
    Trainer(toy_data, root)("other", **TRANSFORMER | {"seed": 2}, max_update=1)
    return root


@pytest.fixture
def generator(
    adapted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Generator:
    return Generator(adapted / "base", capsys, monkeypatch)


def records(lines: Sequence[str]) -> list[tuple[str, float]]:
    found = [json.loads(line) for line in lines]
    return [(record["text"], record["score"]) for record in found]


def alone(generator: Generator, root: Path, name: str, **settings: Any) -> list[tuple[str, float]]:
    """The outputs of all sentences with one adapter, or none."""
    chosen = {"adapter": given(root, [name])} if name else {}
    return records(generator("\n".join(SENTENCES), format="jsonl", **chosen, **settings))


def test_every_record_of_a_batch_gets_what_its_adapter_gives_alone(
    generator: Generator, adapted: Path
) -> None:
    names = ["one", "two", "three", ""]
    wanted = {name: alone(generator, adapted, name, beam=3) for name in names}
    assert len({texts[0][0] for texts in wanted.values()}) > 1
    chosen = [names[number % 4] for number in range(len(SENTENCES))]
    lines = [
        json.dumps({"source": line, "adapter": name} if name or number % 8 < 4 else {"source": line})
        for number, (line, name) in enumerate(zip(SENTENCES, chosen, strict=True))
    ]
    settings = {"adapter": given(adapted, names[:3]), "input_format": "jsonl", "format": "jsonl", "beam": 3}
    found = records(generator("\n".join(lines), **settings))
    for number, (name, (text, score)) in enumerate(zip(chosen, found, strict=True)):
        assert text == wanted[name][number][0]
        assert score == pytest.approx(wanted[name][number][1], abs=2e-5)


@pytest.mark.parametrize("name", KINDS)
def test_an_adapter_is_the_formula_with_its_weights(adapted: Path, name: str) -> None:
    """Of one encoder layer, written out with the checkpoints' weights."""
    path = adapted / "base" / BEST
    base, found = load_checkpoint(path), load_checkpoint(adapted / name / BEST, may_be_adapter=True)
    model = restore_model(base, path)
    attach(model, restore_config(found).adapter)
    load_adapter(model, found.weights, adapted / name)
    model.eval()
    layer = model.blocks()[0]
    x, mask = torch.randn(2, 5, 16), torch.ones(2, 1, 1, 5, dtype=torch.bool)

    def own(key: str) -> Tensor:
        return found.weights[f"adapter.encoder_layers.0.{key}"]

    plain = restore_model(base, path).blocks()[0]
    if name == "three":
        out = plain(x, mask)
        normalized = F.layer_norm(out, (16,), own("norm.weight"), own("norm.bias"))
        narrow = (normalized @ own("down.weight").T + own("down.bias")).relu()
        wanted = out + narrow @ own("up.weight").T + own("up.bias")
    else:
        scale = 1.5 if name == "one" else 16 / 3**0.5
        with torch.no_grad():
            for key in {key.rpartition(".")[0] for key in found.weights if "encoder_layers.0." in key}:
                key = key.removeprefix("adapter.encoder_layers.0.")
                start = {"q": 0, "k": 16, "v": 32}.get(key[-1], 0)
                path_of = key.removesuffix(".q").removesuffix(".k").removesuffix(".v")
                weight = plain.get_parameter(f"{path_of}.weight")
                weight[start : start + 16] += scale * own(f"{key}.b") @ own(f"{key}.a")
        wanted = plain(x, mask)
    assert torch.allclose(layer(x, mask), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["one", "two"])
def test_merged_weights_are_what_is_computed_beside_them(
    generator: Generator, adapted: Path, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "merged.safetensors"
    values = {"inputs": (adapted / "base",), "output": output, "merge_adapter": adapted / name}
    average(build(AverageConfig, values))
    beside = [json.dumps({"source": line}) for line in SENTENCES]
    settings: dict[str, Any] = {"input_format": "jsonl", "format": "jsonl", "beam": 3}
    unmerged = records(generator("\n".join(beside), adapter=given(adapted, [name]), **settings))
    whole, merged = (
        alone(generator, adapted, name, beam=3),
        records(generator("\n".join(SENTENCES), path=output, format="jsonl", beam=3)),
    )
    assert whole == merged
    for (text, score), (other, other_score) in zip(unmerged, merged, strict=True):
        assert text == other
        assert score == pytest.approx(other_score, abs=1e-5)


def test_a_trace_is_of_the_search_with_the_lines_adapter(adapted: Path) -> None:
    config = build(
        GenerateConfig,
        {"path": adapted / "base", "adapter": given(adapted, ["one", "two"]), "device": "cpu", "beam": 3},
    )
    translator = make_translator(config)
    for name in ("one", "two"):
        line = Line(0, SENTENCES[0], extra={"adapter": name})
        (record,) = translator.records([line], 1)
        trace = translator.trace(line).trace
        assert trace.outputs[0][1] == pytest.approx(record.hypotheses[0].score, abs=1e-5)
    with pytest.raises(S2SError, match="three"):
        translator.trace(Line(0, SENTENCES[0], extra={"adapter": "three"}))


def test_an_adapter_of_all_lines_may_be_left_out_of_some(generator: Generator, adapted: Path) -> None:
    lines = [json.dumps({"source": SENTENCES[0], "adapter": ""}), json.dumps({"source": SENTENCES[0]})]
    settings: dict[str, Any] = {
        "input_format": "jsonl",
        "format": "jsonl",
        "adapter": given(adapted, ["two"]),
    }
    found = [text for text, _ in records(generator("\n".join(lines), **settings))]
    assert found == [alone(generator, adapted, name)[0][0] for name in ("", "two")]


def test_without_adapters_a_field_of_that_name_is_the_users_own(generator: Generator) -> None:
    line = json.dumps({"source": SENTENCES[0], "adapter": "theirs"})
    (shown,) = generator(line, input_format="jsonl", format="jsonl")
    assert json.loads(shown)["adapter"] == "theirs"


def test_layers_that_are_left_out_take_their_adapters_along(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen by records as by the command line, where they become part of the weights before."""
    adapted = make_adapted(toy_data, tmp_path, TRANSFORMER | {"model.decoder_layers": 2})
    generator = Generator(adapted / "base", capsys, monkeypatch)
    kept = {"decoder_layers_to_keep": "1", "format": "jsonl"}
    for name in KINDS:
        wanted = records(generator("\n".join(SENTENCES), adapter=given(adapted, [name]), **kept))
        lines = [json.dumps({"source": line, "adapter": name}) for line in SENTENCES]
        chosen = {"adapter": given(adapted, [name]), "input_format": "jsonl"}
        found = records(generator("\n".join(lines), **chosen, **kept))
        assert [text for text, _ in found] == [text for text, _ in wanted]
        assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=2e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_shortlists_and_smaller_weights_go_with_adapters(
    generator: Generator, adapted: Path, precision: str
) -> None:
    lines = [json.dumps({"source": line, "adapter": "two"}) for line in SENTENCES[:6]]
    settings: dict[str, Any] = {"input_format": "jsonl", "format": "jsonl", "precision": precision}
    found = generator("\n".join(lines), adapter=given(adapted, ["one", "two"]), **settings)
    assert len(records(found)) == 6
    if precision == "fp32":
        wanted = alone(generator, adapted, "two")[:6]
        assert [text for text, _ in records(found)] == [text for text, _ in wanted]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"path": "other", "adapter": ["one"]},
            "is an adapter of the model of fingerprint .*, and .*other.* has",
        ),
        ({"adapter": ["base"]}, "holds a whole model, and no adapter"),
        ({"adapter": ["nothing"]}, "no such checkpoint"),
        ({"path": "one"}, "holds an adapter alone, of the model of fingerprint"),
        ({"path": "base:other", "adapter": ["one"]}, "is of one model, and --path .* names several"),
        ({"adapter": ["one", "one"]}, "two have one name"),
    ],
)
def test_what_is_no_adapter_of_the_model_is_refused(
    generator: Generator, adapted: Path, settings: dict[str, Any], words: str
) -> None:
    path = ":".join(str(adapted / name) for name in settings.get("path", "base").split(":"))
    chosen = {"adapter": given(adapted, settings["adapter"])} if "adapter" in settings else {}
    with pytest.raises(S2SError, match=words) as raised:
        generator("ba", path=path, **chosen)
    assert "\n" not in str(raised.value)


def test_an_adapter_that_there_is_not_is_told_with_its_line(generator: Generator, adapted: Path) -> None:
    lines = [json.dumps({"source": "ba", "adapter": name}) for name in ("one", "tow")]
    settings: dict[str, Any] = {"input_format": "jsonl", "adapter": given(adapted, ["one", "two"])}
    with pytest.raises(S2SError, match="line 2: adapter = 'tow': there is no such adapter; did you mean two"):
        generator("\n".join(lines), **settings)


def test_bottlenecks_are_in_no_weights(adapted: Path, tmp_path: Path) -> None:
    values = {"inputs": (adapted / "base",), "output": tmp_path / "x.safetensors"}
    with pytest.raises(UsageError, match="is of bottlenecks"):
        average(build(AverageConfig, values | {"merge_adapter": adapted / "three"}))
    with pytest.raises(UsageError, match="is for one model"):
        build(AverageConfig, values | {"inputs": ("a", "b"), "merge_adapter": "c"})


def test_a_language_model_has_adapters_too(generator: Generator, tmp_path: Path) -> None:
    data = write_dataset(tmp_path, sizes=(40, 6, 0), joined_dictionary=False)
    make_adapted(data, tmp_path, LANGUAGE_MODEL, updates=3)
    wanted = {
        name: records(
            generator("ba be", path=tmp_path / "base", format="jsonl", adapter=given(tmp_path, [name]))
        )
        for name in ("two", "three")
    }
    lines = "\n".join(json.dumps({"source": "ba be", "adapter": name}) for name in wanted)
    settings = {"input_format": "jsonl", "format": "jsonl", "adapter": given(tmp_path, wanted)}
    found = records(generator(lines, path=tmp_path / "base", **settings))
    for (text, score), ((other, other_score),) in zip(found, wanted.values(), strict=True):
        assert text == other
        assert score == pytest.approx(other_score, abs=2e-5)
