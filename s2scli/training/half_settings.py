"""Which settings a model needs for its halves to compute what they did in the models that they are from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from s2scli.configs.model import ModelConfig
from s2scli.errors import UsageError
from s2scli.schema import spelled

# Settings that each side has for itself; those further on follow from those before them where they are not given.
_OF_A_SIDE = (
    "layers",
    "embed_dim",
    "ffn_embed_dim",
    "attention_heads",
    "normalize_before",
    "head_dim",
    "kv_heads",
)
# Settings of both sides, of which a decoder beside an encoder may have a value of its own.
_OWN = ("norm_eps", "activation_fn", "layernorm_embedding")
# Settings of both, of which a model has one value, and those that one kind of norms or positions has.
_SHARED = ("norm", "linear_bias", "positions", "qk_norm", "scale_embedding")
# Settings of encoders alone: of their layers, and of what reads frames.
_OF_ENCODERS = (
    "encoder_layer",
    "depthwise_conv_kernel_size",
    "frontend",
    "conv_kernel_sizes",
    "conv_channels",
    "frame_stack",
)
_OF_KINDS = {
    ("norm", "layer"): ("norm_bias",),
    ("positions", "sinusoidal"): ("sinusoid_spacing", "position_offset"),
    ("positions", "relative"): ("relative_buckets", "relative_max_distance"),
    ("positions", "rotary"): ("rotary_base",),
}
_LENGTH, _LENGTHS = "length", {"encoder": "max_source_positions", "decoder": "max_target_positions"}
# Settings of what is below and above the layers of a decoder.
_OF_ENDS = ("decoder_start", "output_bias")
_TIED, _ALL_TIED = "share_decoder_input_output_embed", "share_all_embeddings"


@dataclass(frozen=True, kw_only=True)
class HalfSettings:
    """What a half of a model is to begin with, and the settings that it had.

    side: which half of the model, "encoder" or "decoder"; taken: which half of the other one; path: of that, model: its
    settings by name, as `all_settings` gives them.
    """

    side: str
    taken: str
    path: Path
    model: Mapping[str, Any]

    @property
    def flag(self) -> str:
        """The flag that it was given by, with its value."""
        return f"--init-{self.side} {self.path}"

    def has_more_layers_than(self, config: ModelConfig) -> bool:
        """Whether the half had more layers than the model has on that side."""
        return bool(self.model[f"{self.taken}_layers"] > getattr(config, f"{self.side}_layers"))


def all_settings(config: ModelConfig) -> dict[str, Any]:
    """The settings of a model by name, with those that are left open, None, too."""
    return {field.name: getattr(config, field.name) for field in fields(config)}


def check_settings(halves: Sequence[HalfSettings], config: ModelConfig) -> None:
    """UsageError, with the flags that mend it, where a model has other settings than its halves had.

    Fewer layers are no other settings by themselves: such a model begins with some of a half's. Also raised where the
    halves had settings that one model cannot have.
    """
    values = all_settings(config)
    changes: dict[str, Any] = {}
    for half in halves:
        for name, value in _changes(half, values).items():
            changes[name] = values[name] = value
    flags = " ".join(half.flag for half in halves)
    for half in halves:
        for name, value in _changes(half, values).items():
            raise UsageError(
                f"{flags}: the one has model.{name} = {spelled(value)}, the other {spelled(values[name])}, and a model "
                "has one value for both; give one of them"
            )
    if not set(changes) <= {f"{half.side}_layers" for half in halves if half.has_more_layers_than(config)}:
        raise UsageError(
            f"{flags}: computes with other settings than the model here; give "
            f"{' '.join(_as_flag(name, value) for name, value in changes.items())}"
        )


def _changes(half: HalfSettings, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a model with these lacks for one of its halves, by name, with the values that are needed."""
    values = dict(values)
    found: dict[str, Any] = {}
    needed = _facts(half.model, half.taken)
    if half.side != half.taken:
        # Where an encoder begins a decoder, it says nothing of the decoder's ends.
        others = (*_OF_ENDS, "output_scale", _TIED, *_OF_ENCODERS)
        needed = {name: value for name, value in needed.items() if name not in others}
        needed["decoder_sublayer"] = "attention"
    for name, value in needed.items():
        # One change may bring others with it, as the width of a head.
        if _facts(values, half.side).get(name) != value:
            changed = {_setting(name, half.side, values): value}
            if name == _TIED and not value and values.get(_ALL_TIED):
                changed[_ALL_TIED] = False
            values |= changed
            found |= changed
    return found


def _setting(name: str, side: str, values: Mapping[str, Any]) -> str:
    """The setting that says a fact of a side in a model with such settings."""
    if name in _OF_A_SIDE or (name in _OWN and side == "decoder" and f"decoder_{name}" in values):
        return f"{side}_{name}"
    return _LENGTHS[side] if name == _LENGTH else name


def _facts(values: Mapping[str, Any], side: str) -> dict[str, Any]:
    """What decides about the numbers that a side of a model with these settings computes, by name.

    What is left open has the value that it then has.
    """
    found = {name: values[f"{side}_{name}"] for name in _OF_A_SIDE}
    heads = found["attention_heads"]
    found["head_dim"] = found["head_dim"] or found["embed_dim"] // heads
    found["kv_heads"] = found["kv_heads"] or heads
    for name in _OWN:
        own = values.get(f"decoder_{name}") if side == "decoder" else None
        found[name] = values[name] if own is None else own
    found |= {name: values[name] for name in _SHARED}
    for (name, kind), others in _OF_KINDS.items():
        if values[name] == kind:
            found |= {other: values[other] for other in others}
    if values["positions"] == "learned":
        found[_LENGTH] = values[_LENGTHS[side]]
    found["attention_scale"] = values["attention_scale"] or found["head_dim"] ** -0.5
    if side == "encoder":
        found |= {name: values[name] for name in _OF_ENCODERS}
    if side == "decoder":
        found |= {name: values[name] for name in ("decoder_sublayer", *_OF_ENDS)}
        found["output_scale"] = values["output_scale"] or 1.0
        found[_TIED] = bool(values.get(_ALL_TIED)) or values[_TIED]
    return found


def _as_flag(name: str, value: Any) -> str:
    """A setting of a model as its flag."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {','.join(map(str, value)) if isinstance(value, tuple) else value}"
