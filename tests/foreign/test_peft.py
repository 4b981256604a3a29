"""PEFT's files of adapters: what they add is added here, to the same weights, and what was read is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import imported, log_probabilities, same_rows, their_log_probabilities
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers_families import FAMILIES, TARGET

from s2scli.checkpoint import fingerprint_of, load_checkpoint, restore_model
from s2scli.checkpoint_file import BEST
from s2scli.configs.export import ExportConfig
from s2scli.configs.importing import ImportConfig
from s2scli.errors import S2SError
from s2scli.export import export
from s2scli.importing import import_model
from s2scli.inference.adapting import put_adapter
from s2scli.schema import build

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# The modules that adapters are beside, by family.
TARGETS = {
    "bart": ("q_proj", "v_proj"),
    "t5 1.1": ("q", "v", "wi_1", "wo"),
    "marian": ("k_proj", "out_proj", "fc1"),
}


def write_adapter(folder: Path, model: Any, targets: tuple[str, ...], **settings: Any) -> dict[str, Tensor]:
    """An adapter as PEFT writes it beside a model of transformers, and what it adds to each weight: α/√r B A."""
    torch.manual_seed(5)
    tensors: dict[str, Tensor] = {}
    added: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in targets:
            a, b = torch.randn(3, module.in_features), torch.randn(module.out_features, 3)
            before = f"base_model.model.{name}.lora_"
            tensors |= {f"{before}A.weight": a, f"{before}B.weight": b}
            added[name] = 0.05 / 3**0.5 * b @ a
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    values = {
        "peft_type": "LORA",
        "r": 3,
        "lora_alpha": 0.05,
        "use_rslora": True,
        "lora_dropout": 0.1,
        "target_modules": list(targets),
        "bias": "none",
        "modules_to_save": None,
        "rank_pattern": {},
    }
    (folder / CONFIG).write_text(json.dumps(values | settings))
    return added


@pytest.mark.parametrize("family", TARGETS)
def test_an_adapter_adds_what_it_adds_there_and_is_written_as_it_was(family: str, tmp_path: Path) -> None:
    torch.manual_seed(11)
    theirs, ours, adapter = (tmp_path / name for name in ("theirs", "ours", "peft"))
    made = FAMILIES[family](theirs)
    _, tokenizers = imported(theirs, ours, **made.get("settings", {}))
    added = write_adapter(adapter, made["model"], TARGETS[family])
    assert len(added) > 4
    values = {"source": adapter, "base": theirs, "save_dir": tmp_path / "adapter"}
    import_model(build(ImportConfig, values | made.get("settings", {})))
    base = load_checkpoint(ours / BEST)
    assert load_checkpoint(tmp_path / "adapter" / BEST, may_be_adapter=True).base == fingerprint_of(
        base.weights
    )
    model = restore_model(base, ours)
    put_adapter(model, tmp_path / "adapter" / BEST, base, ours)
    with torch.no_grad():
        for name, matrix in added.items():
            made["model"].get_submodule(name).weight += matrix
    decoder = made["model"].get_decoder()
    order = same_rows(model.embeddings["target"].weight, decoder.embed_tokens.weight)
    source, target = tokenizers["source"].encode(made["text"]), tokenizers["target"].encode(TARGET)
    expected = their_log_probabilities(made["model"], made["source"], made["target"])
    assert torch.allclose(log_probabilities(model, source, target), expected[:, order], rtol=0, atol=2e-5)
    values = {"path": tmp_path / "adapter", "to": "peft", "base": theirs, "out": tmp_path / "back"}
    export(build(ExportConfig, values))
    before, after = (load_file(tmp_path / name / WEIGHTS) for name in ("peft", "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    written = json.loads((tmp_path / "back" / CONFIG).read_text())
    assert (written["peft_type"], written["r"], written["use_rslora"]) == ("LORA", 3, True)
    assert written["lora_alpha"] == pytest.approx(0.05)
    assert {name.rpartition(".")[2] for name in written["target_modules"]} == {*TARGETS[family]}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "use_dora = true is not supported"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = 'pissa_niter_4' is not supported"),
        ({"peft_type": "IA3"}, "peft_type = 'IA3' is not supported"),
        ({"r": 4}, r"has shape \(3, 24\); wanted: \(4, 24\)"),
        ({"rank_pattern": {"q": 2}}, "rank_pattern .* is not supported"),
    ],
)
def test_what_none_of_our_adapters_is_is_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    made = FAMILIES["bart"](tmp_path / "theirs")
    write_adapter(tmp_path / "peft", made["model"], ("q_proj",), **settings)
    values: dict[str, Any] = {"source": tmp_path / "peft", "save_dir": tmp_path / "adapter"}
    with pytest.raises(S2SError, match=words) as raised:
        import_model(build(ImportConfig, values | {"base": tmp_path / "theirs"}))
    assert "\n" not in str(raised.value)
    with pytest.raises(S2SError, match="give --base, the folder of transformers"):
        import_model(build(ImportConfig, values))
    with pytest.raises(S2SError, match="is no folder of PEFT"):
        import_model(
            build(ImportConfig, {**values, "source": tmp_path / "theirs", "base": tmp_path / "theirs"})
        )


def test_tensors_of_another_model_are_named(tmp_path: Path) -> None:
    made = FAMILIES["bart"](tmp_path / "theirs")
    write_adapter(tmp_path / "peft", made["model"], ("q_proj",))
    tensors = load_file(tmp_path / "peft" / WEIGHTS)
    name = next(iter(tensors))
    save_file(
        {**tensors, name.replace("q_proj", "w_proj"): tensors[name].clone()}, tmp_path / "peft" / WEIGHTS
    )
    values = {"source": tmp_path / "peft", "save_dir": tmp_path / "adapter", "base": tmp_path / "theirs"}
    with pytest.raises(S2SError, match=r"w_proj.*has no weight for; did you mean"):
        import_model(build(ImportConfig, values))
    save_file({name: tensors[name].clone()}, tmp_path / "peft" / WEIGHTS)
    with pytest.raises(S2SError, match="has only one of the two matrices of"):
        import_model(build(ImportConfig, values))
