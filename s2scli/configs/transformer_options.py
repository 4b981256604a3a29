"""The settings in which published Transformers differ, beside their sizes."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.configs.model import ModelConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

ACTIVATIONS = ("relu", "gelu", "gelu_new", "swish", "reglu", "geglu", "geglu_new", "swiglu")
POSITIONS = ("sinusoidal", "learned", "relative", "rotary", "none")


@dataclass(frozen=True, kw_only=True)
class TransformerOptions(ModelConfig):
    """How a Transformer normalizes, tells positions, attends, and enters and leaves its vocabulary."""

    norm: str = setting(
        "layer",
        "normalization: layer (Ba et al. 2016), or rms, which does not subtract the mean (Zhang and Sennrich 2019)",
        choices=("layer", "rms"),
    )
    norm_eps: float = setting(1e-5, "what norms add to the variance, or the mean square", above=0, at_most=1)
    norm_bias: bool = setting(True, "biases in layer norms; rms norms have none", needs="norm=layer")
    layernorm_embedding: bool = setting(False, "normalize embeddings with their positions, before dropout")
    activation_fn: str = setting(
        "relu",
        "feed-forward activation; those that end in glu are gated (Shazeer 2020), those in _new take tanh for erf",
        choices=ACTIVATIONS,
    )
    linear_bias: bool = setting(True, "biases in attention and feed-forward layers")
    positions: str = setting(
        "sinusoidal",
        "how positions are told: by embeddings, relative ones as in T5, rotations, or not at all",
        choices=POSITIONS,
    )
    sinusoid_spacing: str = setting(
        "tensor2tensor",
        "exponents of the sinusoids' frequencies: i / (D/2 - 1), as fairseq, Marian and tensor2tensor have them, or "
        "the paper's 2i / D",
        choices=("tensor2tensor", "paper"),
        needs="positions=sinusoidal",
    )
    position_offset: int = setting(
        0,
        "number of the first position; fairseq's is 2",
        at_least=0,
        at_most=10_000_000,
        needs="positions=sinusoidal",
    )
    relative_buckets: int = setting(
        32,
        "buckets of distances between positions (Raffel et al. 2020)",
        at_least=4,
        at_most=100_000,
        needs="positions=relative",
    )
    relative_max_distance: int = setting(
        128,
        "distance from which on all are in the last bucket",
        unit="tokens",
        at_least=2,
        at_most=10_000_000,
        needs="positions=relative",
    )
    rotary_base: float = setting(
        10000.0,
        "base of the rotations' frequencies (Su et al. 2021)",
        above=1,
        at_most=1e9,
        needs="positions=rotary",
    )
    qk_norm: bool = setting(False, "normalize queries and keys, each head by itself (Henry et al. 2020)")
    attention_scale: float | None = setting(
        None,
        "what products of queries and keys are multiplied by; by default 1 / √(width of a head)",
        above=0,
        at_most=1_000_000,
    )
    scale_embedding: bool = setting(True, "multiply embeddings by the root of their width")
    decoder_sublayer: str = setting(
        "attention",
        "first sublayer of the decoder: self-attention, or an SSRU, which is recurrent (Kim et al. 2019)",
        choices=("attention", "ssru"),
    )
    decoder_start: str = setting(
        "symbol",
        "what the decoder reads first: the start symbol's embedding, or zero in place of it, as Marian has it",
        choices=("symbol", "zero"),
    )
    output_bias: bool = setting(False, "a bias for each word of the target vocabulary")
    output_scale: float | None = setting(
        None,
        "what the decoder's last states are multiplied by; T5's is 1 / √D",
        above=0,
        at_most=1_000_000,
    )

    def __post_init__(self) -> None:
        if self.positions == "relative" and (
            self.relative_buckets % 2 or self.relative_max_distance <= self.relative_buckets // 2
        ):
            raise UsageError(
                f"model.relative_buckets = {self.relative_buckets} must be even, and "
                f"model.relative_max_distance = {self.relative_max_distance} more than half of it"
            )
