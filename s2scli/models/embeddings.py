"""The embeddings of a model's two sides and its output layer, tied as its config says."""

from __future__ import annotations

from typing import Any

from s2scli.configs.model import EncoderDecoderConfig
from s2scli.console import counted
from s2scli.errors import UsageError
from s2scli.nn.copying import CopyOutput
from s2scli.nn.embedding import initial_embedding
from s2scli.nn.output import OutputLayer, SoftmaxOutput
from s2scli.text.vocabulary import SidesSymbols


class Embeddings:
    """The source and target embeddings and the output layer, tied as the config says.

    output_options: of the output layer, its bias and its scale.
    """

    def __init__(
        self,
        config: EncoderDecoderConfig,
        sizes: tuple[int, int],
        output_width: int,
        symbols: SidesSymbols,
        **output_options: Any,
    ) -> None:
        source_size, target_size = sizes
        if config.share_all_embeddings and source_size != target_size:
            raise UsageError(
                f"--share-all-embeddings needs one vocabulary, but the source has "
                f"{counted(source_size, 'symbol')} and the "
                f"target {target_size}; preprocess with --joined-dictionary"
            )
        self.target = initial_embedding(target_size, config.decoder_embed_dim, symbols.target.zero_row)
        self.source = (
            self.target
            if config.share_all_embeddings
            else initial_embedding(source_size, config.encoder_embed_dim, symbols.source.zero_row)
        )
        tied = config.share_all_embeddings or config.share_decoder_input_output_embed
        layer = CopyOutput if config.copies else SoftmaxOutput
        self.output: OutputLayer[Any] = layer(
            output_width, target_size, self.target if tied else None, **output_options
        )
