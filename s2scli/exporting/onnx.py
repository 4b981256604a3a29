"""ONNX: the files that optimum of Hugging Face writes for a sequence-to-sequence model, which many runtimes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from s2scli import document
from s2scli.configs.export import ExportConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.console import notice
from s2scli.data.exported import unique_names
from s2scli.data.tokenizers import tokenizer_file
from s2scli.errors import S2SError, UsageError
from s2scli.exporting.onnx_graphs import write_graphs
from s2scli.exporting.onnx_numbers import renumbered
from s2scli.exporting.onnx_outputs import GreedyRules, OnnxModel, greedy_outputs
from s2scli.exporting.own_text import OwnText
from s2scli.exporting.target import ExportTarget, ModelToExport
from s2scli.exporting.transformers import (
    GENERATION,
    WRITTEN_BY,
    TransformersForm,
    generation_settings,
    orders_of,
    says_written,
    write_json,
)
from s2scli.foreign.source import CONFIG
from s2scli.inference.lines import Line
from s2scli.io import write_atomically
from s2scli.models.transformer import TransformerModel
from s2scli.schema import as_dict
from s2scli.text.normalization import is_blank

_LIBRARIES = ("onnx", "onnxruntime")
# Lines that are translated together.
_BATCH = 16


class Onnx(ExportTarget):
    """ONNX: an encoder, a decoder, and a decoder that goes on with what it has kept, a file each."""

    @classmethod
    def write(cls, source: ModelToExport, folder: Path, config: ExportConfig) -> None:
        """Write the files of the model and, as for transformers where it has such a model, of settings and tokenizers.

        UsageError for a model that is not written, S2SError where a library is not installed.
        """
        _check(source, config)
        model = renumbered(cast(TransformerModel, source.model), orders_of(source))
        write_graphs(model, cast(TransformerConfig, source.config), folder)
        _describe(source, folder, config)

    @classmethod
    def has_written(cls, folder: Path) -> bool:
        """Whether config.json says so."""
        return says_written(folder)

    @classmethod
    def texts(
        cls, source: ModelToExport, folder: Path, lines: Sequence[Line], done: Callable[[int], object]
    ) -> list[str]:
        """What onnxruntime makes of the lines, cut to as many tokens as there are learned positions for."""
        text = OwnText(source, orders_of(source), source.model.max_source_positions)
        rules = GreedyRules.of(document.read(folder / GENERATION, Mapping[str, Any]))
        model = OnnxModel(folder)
        found: dict[int, str] = {}
        ordered = sorted((line for line in lines if not is_blank(line.text)), key=lambda line: len(line.text))
        for begin in range(0, len(ordered), _BATCH):
            batch = ordered[begin : begin + _BATCH]
            outputs = greedy_outputs(model, *text.padded([line.text for line in batch]), rules)
            found |= {line.id: text.decode(row) for line, row in zip(batch, outputs, strict=True)}
            done(len(batch))
        return [found.get(line.id, "") for line in lines]


def _check(source: ModelToExport, config: ExportConfig) -> None:
    """UsageError, with the setting, for what is not written; S2SError for a library that is not there."""
    if source.config.name != "transformer":
        raise UsageError(
            f"{source.path}: --arch {source.checkpoint.config['arch']} is of the family {source.config.name}; as ONNX "
            "only those of the family transformer can be written"
        )
    if source.model.copies:
        raise UsageError(
            f"{source.path}: model.copy = true: what may be copied is no part of an ONNX file; train without --copy"
        )
    if cast(TransformerConfig, source.config).has_conformer:
        raise UsageError(
            f"{source.path}: model.encoder_layer = 'conformer': as ONNX only encoders of Transformer layers can be "
            "written"
        )
    if config.quantization != "float32":
        raise UsageError(
            f"--quantization {config.quantization}: ONNX files are written in float32; leave it out, and quantize them "
            "with onnxruntime.quantization"
        )
    if config.shortlist:
        raise UsageError(f"--shortlist {config.shortlist}: ONNX files have no shortlists; leave it out")
    for name in _LIBRARIES:
        if find_spec(name) is None:
            raise S2SError(f"--to onnx needs {name}, which is not installed: pip install 's2scli[onnx]'")


def _describe(source: ModelToExport, folder: Path, config: ExportConfig) -> None:
    """Write settings and tokenizers, as for transformers where it has them, and else of our own form."""
    try:
        form = TransformersForm.of(source, config)
    except UsageError as error:
        notice(f"{config.out}: config.json and the tokenizers are s2s' own: {error}")
        settings = _own_settings(source)
        longest = source.model.max_target_positions
        write_json(folder / CONFIG, settings)
        write_json(folder / GENERATION, generation_settings(source, settings, longest))
    else:
        missing = form.write(source, folder)
        if not missing:
            return
        notice(f"{config.out}: the tokenizers are s2s' own, as transformers has none like them: {missing}")
    _write_vocabularies(source, folder)


def _own_settings(source: ModelToExport) -> dict[str, Any]:
    """A config.json of our own: the ids of special symbols under transformers' names, and our settings."""
    target = orders_of(source)["target"]
    special = {name: target.order[token] for name, token in asdict(target.vocabulary.special).items()}
    facts = source.checkpoint.dataset
    return {
        "model_type": "s2s",
        "is_encoder_decoder": True,
        "decoder_start_token_id": special["start"],
        "eos_token_id": special["end"],
        "pad_token_id": special["padding"],
        "unk_token_id": special["unknown"],
        "bos_token_id": None,
        "forced_eos_token_id": None,
        "vocab_size": source.model.source_size,
        "decoder_vocab_size": source.model.target_size,
        "positions": dict(cast(TransformerConfig, source.config).positions_of),
        "right_to_left": bool(source.checkpoint.config.get("right_to_left", False)),
        **{name: facts.get(name, "") for name in ("source_lang", "target_lang")},
        "model": as_dict(source.config),
        **WRITTEN_BY,
    }


def _write_vocabularies(source: ModelToExport, folder: Path) -> None:
    """Write the symbols of each side, by id, and our tokenizers."""
    symbols = {}
    for side, vocabulary in orders_of(source).items():
        names = unique_names(vocabulary.vocabulary)
        by_id = sorted(range(len(names)), key=lambda ours: vocabulary.order[ours])
        symbols[side] = [names[ours] for ours in by_id]
        with write_atomically(folder / tokenizer_file(side)) as temporary:
            temporary.write_bytes(source.checkpoint.tokenizers[side].to_bytes())
    write_json(folder / "vocabularies.json", symbols)
