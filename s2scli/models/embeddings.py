"""The embeddings of a model's two sides and its output layer, tied as its config says."""

from __future__ import annotations

from typing import Any

from torch import nn

from s2scli.configs.model import EncoderDecoderConfig
from s2scli.console import counted
from s2scli.data.facts import FeatureFacts, ModelColumns
from s2scli.errors import UsageError
from s2scli.nn.copying import CopyOutput
from s2scli.nn.embedding import initial_embedding
from s2scli.nn.output import OutputLayer, SoftmaxOutput


class Embeddings:
    """The source and target embeddings and the output layer, tied as the config says; source: None of frames.

    output_options: of the output layer, its bias and its scale.
    """

    def __init__(
        self,
        config: EncoderDecoderConfig,
        columns: ModelColumns,
        output_width: int,
        **output_options: Any,
    ) -> None:
        target = columns.target
        self.target = initial_embedding(target.size, config.decoder_embed_dim, target.symbols.zero_row)
        self.source = self._source(config, columns)
        tied = config.share_all_embeddings or config.share_decoder_input_output_embed
        layer = CopyOutput if config.copies else SoftmaxOutput
        self.output: OutputLayer[Any] = layer(
            output_width, target.size, self.target if tied else None, **output_options
        )

    def _source(self, config: EncoderDecoderConfig, columns: ModelColumns) -> nn.Embedding | None:
        """The table of the source's tokens; None where the source is frames."""
        if isinstance(columns.source, FeatureFacts):
            if config.copies:
                raise UsageError("--copy: the source is frames, which have no words to copy; leave it out")
            if config.share_all_embeddings:
                raise UsageError(
                    "--share-all-embeddings: the source is frames, and has no embeddings; leave it out"
                )
            return None
        source, target = columns.source_text, columns.target
        if not config.share_all_embeddings:
            return initial_embedding(source.size, config.encoder_embed_dim, source.symbols.zero_row)
        if source.size != target.size:
            raise UsageError(
                f"--share-all-embeddings needs one vocabulary, but the source has "
                f"{counted(source.size, 'symbol')} and the "
                f"target {target.size}; preprocess with --joined-dictionary"
            )
        return self.target
