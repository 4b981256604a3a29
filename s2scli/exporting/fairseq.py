"""fairseq: a checkpoint.pt with a Transformer, and the dictionaries of both sides beside it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from s2scli.configs.export import ExportConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.console import notice
from s2scli.data.exported import unique_names
from s2scli.errors import S2SError, UsageError
from s2scli.exporting.library_tokenizer import first_symbol_of
from s2scli.exporting.target import ExportTarget, ModelToExport
from s2scli.foreign.fairseq import FIRST_POSITION, SENTENCEPIECE
from s2scli.foreign.fairseq_transformer import fairseq_settings, weight_rows
from s2scli.foreign.formats.pytorch import read_pytorch, write_pytorch
from s2scli.foreign.rows import SIDES
from s2scli.foreign.weights import to_theirs
from s2scli.foreign.writing import OUTPUT, TARGET_TABLE, own_copies
from s2scli.inference.lines import Line
from s2scli.io import write_atomically
from s2scli.models.transformer import TransformerModel
from s2scli.schema import as_dict, spelled
from s2scli.text.piece_model import with_space_before
from s2scli.text.subword import GivenSentencePieceTokenizer, SentencePieceTokenizer
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, Vocabulary

_FILE = "checkpoint.pt"
_WRITTEN_BY = {"written_by": "s2s export"}
_LANGUAGES = {"source": "src", "target": "tgt"}


class Fairseq(ExportTarget):
    """fairseq: what `fairseq-generate --path` and `fairseq-interactive` take, and `s2s import` reads."""

    @classmethod
    def write(cls, source: ModelToExport, folder: Path, config: ExportConfig) -> None:
        """Write the checkpoint, dict.LANG.txt of both languages, and a model of SentencePiece where there is one."""
        _check(source, config)
        model, weights = _with_positions(source, config)
        languages = _languages(source.checkpoint.dataset)
        settings = fairseq_settings(model, languages)
        theirs = own_copies(to_theirs([*weight_rows(model)], weights))
        # By their version fairseq knows that a pre-norm stack ends with a norm.
        theirs |= {f"{side}.version": torch.tensor([3.0]) for side in SIDES}
        state = {
            "args": Namespace(**settings),
            "model": theirs,
            # What fairseq looks for in every checkpoint: there was no training.
            "optimizer_history": [{"optimizer_name": "none", "lr_scheduler_state": {}, "num_updates": 0}],
            "extra_state": {},
            **_WRITTEN_BY,
        }
        with write_atomically(folder / _FILE) as temporary:
            write_pytorch(temporary, state)
        for side, language in languages.items():
            _write_dictionary(folder / f"dict.{language}.txt", source.checkpoint.tokenizers[side].vocabulary)
        _write_pieces(source, folder)

    @classmethod
    def has_written(cls, folder: Path) -> bool:
        """Whether the checkpoint says so."""
        try:
            found = read_pytorch(folder / _FILE)
        except (S2SError, OSError):
            return False
        return isinstance(found, Mapping) and all(
            found.get(key) == value for key, value in _WRITTEN_BY.items()
        )

    @classmethod
    def texts(
        cls,
        source: ModelToExport,  # noqa: ARG003 (as every target)
        folder: Path,
        lines: Sequence[Line],  # noqa: ARG003
        done: Callable[[int], object],  # noqa: ARG003
    ) -> list[str] | None:
        """None, and a line that says so: fairseq needs older libraries than those that run here."""
        notice(
            f"{folder}: not compared, as fairseq runs in an environment of its own; s2s import reads it back"
        )
        return None


# Values that settings may have; those without a row may have any.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "copy": (False,),
    "attention_window": (0,),
    "encoder_layer": ("transformer",),
    "norm": ("layer",),
    "norm_eps": (1e-5,),
    "norm_bias": (True,),
    "decoder_norm_eps": (None, 1e-5),
    "decoder_activation_fn": (None,),
    "decoder_layernorm_embedding": (None,),
    # Its swish raises an error in version 0.12.2.
    "activation_fn": ("relu", "gelu", "gelu_new"),
    "linear_bias": (True,),
    "positions": ("sinusoidal", "learned", "none"),
    "qk_norm": (False,),
    "attention_scale": (None,),
    "encoder_head_dim": (None,),
    "decoder_head_dim": (None,),
    "encoder_kv_heads": (None,),
    "decoder_kv_heads": (None,),
    "decoder_sublayer": ("attention",),
    "decoder_start": ("symbol",),
    "output_bias": (False,),
    "output_scale": (None,),
}


def _languages(dataset: Mapping[str, Any]) -> Mapping[str, str]:
    """What both sides are called, as are their dictionaries: src and tgt where the names that are given are none."""
    found = {side: str(dataset.get(f"{side}_lang") or name) for side, name in _LANGUAGES.items()}
    are_names = all(Path(name).name == name and name != ".." for name in found.values())
    return found if are_names and len(set(found.values())) == len(found) else _LANGUAGES


def _check(source: ModelToExport, config: ExportConfig) -> None:
    """UsageError, with the setting, for what fairseq has not."""
    if source.config.name != "transformer":
        raise UsageError(
            f"{source.path}: --arch {source.checkpoint.config['arch']} is of the family {source.config.name}; for "
            "fairseq only those of the family transformer can be written"
        )
    for name, allowed in _ALLOWED.items():
        if (value := getattr(source.config, name)) not in allowed:
            raise UsageError(
                f"{source.path}: model.{name} = {spelled(value)}: fairseq has no such model; it has those with "
                f"{', '.join('none' if item is None else spelled(item) for item in allowed)}"
            )
    if source.checkpoint.config.get("right_to_left"):
        raise UsageError(
            f"{source.path}: right_to_left = true: fairseq would show outputs the wrong way round"
        )
    if config.quantization != "float32":
        raise UsageError(f"--quantization {config.quantization}: fairseq's are of float32; leave it out")
    if config.shortlist:
        raise UsageError(f"--shortlist {config.shortlist}: fairseq has no shortlists; leave it out")
    for side, tokenizer in source.checkpoint.tokenizers.items():
        if tokenizer.special != FAIRSEQ_SYMBOLS:
            raise UsageError(
                f"{source.path}: the {side} vocabulary begins with {' '.join(tokenizer.special.names)}; fairseq's "
                f"with {' '.join(FAIRSEQ_SYMBOLS.names)}"
            )
        if first_symbol_of(tokenizer) is not None:
            raise UsageError(
                f"{source.path}: each {side} begins with the code of a language, which fairseq's translation task "
                "does not write"
            )


def _with_positions(
    source: ModelToExport, config: ExportConfig
) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Our settings and weights of what is written: sinusoids unlike fairseq's are a table, as if they were learned."""
    own, weights = cast(TransformerConfig, source.config), dict(source.checkpoint.weights)
    model = as_dict(own) | {
        # What is tied the weights say.
        "share_all_embeddings": TARGET_TABLE not in weights,
        "share_decoder_input_output_embed": OUTPUT not in weights,
    }
    is_theirs = own.position_offset == FIRST_POSITION and own.sinusoid_spacing == "tensor2tensor"
    if own.positions == "sinusoidal" and not is_theirs:
        network = cast(TransformerModel, source.model)
        model["positions"] = "learned"
        for side, number in source.positions(config.max_positions).items():
            part = "encoder" if side == "source" else "decoder"
            table = getattr(network, f"{part}_embedder").positions(0, number)
            weights[f"{part}_embedder.positions.weight"] = table
            model[f"max_{side}_positions"] = number
    return model, weights


def _write_dictionary(path: Path, vocabulary: Vocabulary) -> None:
    """Write the symbols and their counts, under names that fairseq can tell apart."""
    rows = zip(unique_names(vocabulary), vocabulary.counts, strict=True)
    lines = [f"{name} {count}\n" for name, count in rows][vocabulary.special.count :]
    with write_atomically(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _write_pieces(source: ModelToExport, folder: Path) -> None:
    """Write the model of SentencePiece under a name that fairseq's are known by; where there are two, one a side."""
    models: dict[str, bytes] = {}
    for side, tokenizer in source.checkpoint.tokenizers.items():
        if tokenizer.kind in (SentencePieceTokenizer.kind, GivenSentencePieceTokenizer.kind):
            own = cast(SentencePieceTokenizer, tokenizer)
            is_ours = own.kind == SentencePieceTokenizer.kind
            models[side] = with_space_before(own.model) if is_ours else own.model
    names = {side: f"{side}.spm" for side in models}
    if len(models) == 2 and models["source"] == models["target"]:
        names = {"source": SENTENCEPIECE[2]}
    for side, name in names.items():
        with write_atomically(folder / name) as temporary:
            temporary.write_bytes(models[side])
