"""What a family of transformers needs to write a model of ours as a folder of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor

from s2scli.configs.transformer import TransformerConfig
from s2scli.foreign.base import ForeignFamily
from s2scli.foreign.vocabularies import OrderedVocabulary

Allowed = Mapping[str, tuple[Any, ...]]
"""The values that settings of ours may have; those without an entry may have any."""

# The names that our tables of embeddings have in a checkpoint; of those that are tied there is one.
SOURCE_TABLE, TARGET_TABLE, OUTPUT = (
    "encoder_embedder.table.weight",
    "decoder_embedder.table.weight",
    "output.weight",
)


@dataclass(frozen=True, kw_only=True)
class ModelToWrite:
    """A Transformer of ours, and what of it depends on the folder.

    weights: ours by name. orders: the vocabulary of each side, `source` and `target`, with the folder's ids.
    first: our id of the symbol that every target begins with; None: there is none.
    positions: for each side, `encoder` and `decoder`, a table [P, D] of what is added to embeddings.
    """

    config: TransformerConfig
    weights: Mapping[str, Tensor]
    orders: Mapping[str, OrderedVocabulary]
    first: int | None
    positions: Mapping[str, Tensor]

    @property
    def is_one_table(self) -> bool:
        """Whether source, target and output have one table of embeddings."""
        return TARGET_TABLE not in self.weights

    @property
    def is_output_tied(self) -> bool:
        """Whether the output has the target's table."""
        return OUTPUT not in self.weights

    @property
    def settings(self) -> dict[str, Any]:
        """Our settings by name, with what is tied as the weights say it."""
        own = {item.name: getattr(self.config, item.name) for item in fields(self.config)}
        return own | {
            "share_all_embeddings": self.is_one_table,
            "share_decoder_input_output_embed": self.is_output_tied,
        }

    def sizes(self) -> tuple[int, int]:
        """How many symbols the source and the target have."""
        return len(self.orders["source"].order), len(self.orders["target"].order)

    def special_settings(self) -> dict[str, Any]:
        """The ids of special symbols as all of transformers' settings have them."""
        target = self.orders["target"]
        special = target.vocabulary.special
        return {
            "is_encoder_decoder": True,
            "decoder_start_token_id": target.order[special.start],
            "eos_token_id": target.order[special.end],
            "pad_token_id": target.order[special.padding],
            "bos_token_id": None,
            "forced_eos_token_id": None,
        }


class WritableFamily(ForeignFamily):
    """A family of transformers that is written, too; `architecture` is the class of its models there."""

    architecture: ClassVar[str]

    @classmethod
    @abstractmethod
    def allowed(cls, config: TransformerConfig) -> Allowed:
        """The values that settings may have, of a model that the family has."""

    @classmethod
    @abstractmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The settings for config.json and the weights by name; UsageError for a model that the family has not."""


def lacking(family: type[WritableFamily], config: TransformerConfig) -> dict[str, tuple[Any, ...]]:
    """The settings whose values a family has not, with those that it has."""
    return {
        name: values for name, values in family.allowed(config).items() if getattr(config, name) not in values
    }


def always_allowed(config: TransformerConfig) -> dict[str, tuple[Any, ...]]:
    """What holds in every family: sides of one width and alike, attention as usual, and a start symbol."""
    return {
        "copy": (False,),
        "attention_window": (0,),
        "encoder_layer": ("transformer",),
        "decoder_sublayer": ("attention",),
        "qk_norm": (False,),
        "decoder_start": ("symbol",),
        "encoder_embed_dim": (config.decoder_embed_dim,),
        "encoder_kv_heads": (None, config.encoder_attention_heads),
        "decoder_kv_heads": (None, config.decoder_attention_heads),
        **{
            f"decoder_{name}": (None, getattr(config, name))
            for name in ("norm_eps", "activation_fn", "layernorm_embedding")
        },
    }


def own_copies(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each with memory of its own: safetensors writes no memory twice."""
    return {name: tensor.detach().float().cpu().clone().contiguous() for name, tensor in weights.items()}
