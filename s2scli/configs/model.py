"""What every model's config answers, and what those of encoder-decoders have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from s2scli.components import MODELS
from s2scli.configs.component import ComponentConfig
from s2scli.configs.presets import Preset
from s2scli.configs.sampling import SamplingConfig
from s2scli.errors import UsageError
from s2scli.schema import limits_of, setting


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ComponentConfig):
    """Settings of a model family, and what the rest of the program asks about it before there is a model.

    `builds` is called with the config and the sizes of the source and the target vocabulary, 0 where there is no
    source; it gives a `models.base.Model`.

    presets: values of --arch that are of this family. They name a section's component and settings where they are not
    the defaults; where a family has none, its own name is one.
    reads_source: whether there are sources; a language model has targets only.
    halves: "encoder" and "decoder" where a run may begin with those of another Transformer.
    """

    presets: ClassVar[Mapping[str, Preset]] = {}
    reads_source: ClassVar[bool] = True
    halves: ClassVar[tuple[str, ...]] = ()

    @property
    def copies(self) -> bool:
        """Whether the model copies words of the source, also such as the vocabulary does not have."""
        return False

    @property
    def skips_layers(self) -> bool:
        """Whether a training batch may skip layers."""
        return False

    @property
    def positions_of(self) -> dict[str, int]:
        """The most tokens, end symbol counted, that there are positions for, of each side that has a limit."""
        return {}

    def settled(self, *, one_vocabulary: bool) -> Self:
        """The same settings with everything decided that is left open until the vocabularies are known.

        one_vocabulary: whether source and target have the same.
        """
        del one_vocabulary
        return self

    def check_beside(self, sampling: SamplingConfig) -> None:
        """UsageError for what is drawn anew in training data and would make the model learn what is not so."""
        if self.copies and sampling.has_noise:
            raise UsageError(
                "--word-dropout, --word-mask or --word-shuffle: what is copied from a source with noise is not its "
                "text; leave them or --copy out"
            )

    def check_sharded(self) -> None:
        """UsageError for settings that do not go with --distributed fsdp."""
        if self.skips_layers:
            raise UsageError(
                "--encoder-layerdrop and --decoder-layerdrop: each process skips other layers, and --distributed fsdp "
                "gathers a layer in all of them at once; use ddp"
            )


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(ModelConfig):
    """Settings of a model of two sides, whose embeddings and output weights may be tied."""

    encoder_embed_dim: int
    decoder_embed_dim: int
    share_decoder_input_output_embed: bool = setting(True, "tie the decoder's embedding and output weights")
    share_all_embeddings: bool | None = setting(
        None, "tie source, target and output weights; by default where both sides have one vocabulary"
    )

    @property
    def widths_to_share(self) -> set[int]:
        """The widths that must be one for source, target and output weights to be tied by default."""
        return {self.encoder_embed_dim, self.decoder_embed_dim}

    def settled(self, *, one_vocabulary: bool) -> Self:
        """The same settings with share_all_embeddings decided: by default weights are tied where they can be."""
        if self.share_all_embeddings is not None:
            return self
        can_be = one_vocabulary and len(self.widths_to_share) == 1
        return replace(self, share_all_embeddings=can_be and self.ties_by_default)

    @property
    def ties_by_default(self) -> bool:
        """Whether what can be tied is, where share_all_embeddings says nothing: not if the decoder's are kept apart."""
        return self.share_decoder_input_output_embed

    def check_sharing(self) -> None:
        """UsageError where all embeddings are to be shared and have different widths."""
        if self.share_all_embeddings and self.encoder_embed_dim != self.decoder_embed_dim:
            raise UsageError(
                f"model.share_all_embeddings needs equal widths, but encoder_embed_dim = {self.encoder_embed_dim} "
                f"and decoder_embed_dim = {self.decoder_embed_dim}"
            )


@dataclass(frozen=True, kw_only=True)
class CopyingConfig(ModelConfig):
    """Settings of a model that can copy words of its source."""

    copy: bool = setting(
        False,
        "copy words of the source too, also such as the vocabulary does not have (See et al. 2017)",
    )

    @property
    def copies(self) -> bool:
        """Whether the model copies words of the source, also such as the vocabulary does not have."""
        return self.copy


def is_for_sources(arch: str) -> str:
    """Why a setting does not go with a language model, that of the preset `arch`, in words."""
    return f"is for models that read a source, and --arch {arch} is a language model; leave it out"


def out_embed_dim() -> Any:
    """The setting decoder_out_embed_dim, of the families that have it."""
    return setting(
        None,
        "width before the output projection; by default decoder_embed_dim",
        at_least=1,
        at_most=1_000_000,
    )


def training_only(config: type[ModelConfig]) -> frozenset[str]:
    """The names of settings that only training knows: weights have the same shapes and meaning whatever these are."""
    return frozenset(
        field.name
        for field in fields(config)
        if "limits" in field.metadata and limits_of(field).training_only
    )


def model_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of settings by which weights of one model are not weights of another, "name" alone for families.

    one, other: the models' settings as plain values.
    """
    if one["name"] != other["name"]:
        return ["name"]
    keys = (one.keys() | other.keys()) - training_only(MODELS[one["name"]])
    return sorted(key for key in keys if one.get(key) != other.get(key))
