"""The Transformer language model: a decoder without an encoder (Radford et al. 2018, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from s2scli.configs.transformer import TransformerLMConfig
from s2scli.data.batch import Batch, Source
from s2scli.data.facts import ModelColumns
from s2scli.errors import UsageError
from s2scli.models.base import Memory
from s2scli.models.transformer import TransformerDecoder
from s2scli.models.transformer_parts import layer_config, make_embedder, make_relative_positions
from s2scli.models.transformer_state import TransformerMemory
from s2scli.nn.embedding import initial_embedding
from s2scli.nn.output import SoftmaxOutput
from s2scli.nn.transformer import DecoderLayer, final_norm


class TransformerLanguageModel(TransformerDecoder):
    """A Transformer's decoder over a memory of no positions: of a source it knows only that there is one."""

    reads_source = False

    def __init__(self, config: TransformerLMConfig, columns: ModelColumns) -> None:
        super().__init__()
        layer = layer_config(config, "decoder")
        table = initial_embedding(columns.target.size, layer.width, columns.target.symbols.zero_row)
        self.decoder_embedder = make_embedder(config, table, "target")
        self.decoder_relative_positions = make_relative_positions(config, layer, bidirectional=False)
        self.decoder_layerdrop = config.decoder_layerdrop
        self.decoder_layers = nn.ModuleList(DecoderLayer(layer, 0) for _ in range(config.decoder_layers))
        self.decoder_norm = final_norm(layer)
        tied = table if config.share_decoder_input_output_embed else None
        self.output = SoftmaxOutput(
            layer.width, columns.target.size, tied, bias=config.output_bias, scale=config.output_scale
        )
        self.encoder_width = 0
        self.source_size, self.target_size = columns.source_size, columns.target.size
        self.symbols, self.source_symbols = columns.target.symbols, columns.source_symbols
        self.max_target_positions = config.positions_of.get("target")
        self._heads, self._head_width = layer.key_heads, layer.head_width

    @property
    def embeddings(self) -> dict[str, nn.Embedding]:
        """The table of each side that is read."""
        return {"target": self.decoder_embedder.table}

    def embed(self, source: Source) -> tuple[Tensor, Tensor]:
        """Vectors of no positions, [B, 0, D], and their mask [B, 0]."""
        return self.output.weight.new_empty(
            len(source), 0, self.decoder_embedder.table.embedding_dim
        ), source.mask[:, :0]

    def encode_embedded(self, x: Tensor, mask: Tensor, words: Tensor | None = None) -> TransformerMemory:
        """Keys and values of no positions for each of the sentences."""
        del words
        nothing = x.new_empty(len(x), self._heads, 0, self._head_width)  # [B, H, 0, D/H]
        layers = [nothing] * len(self.decoder_layers)
        return TransformerMemory(layers, layers, mask[:, None, None])

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """There is no source to attend to: UsageError."""
        del batch, layer
        raise UsageError("a language model has no source that its outputs could be aligned with")

    def encoder_states(self, memory: Memory) -> Tensor:
        """There are none; the settings of training see to it that none are asked for."""
        raise NotImplementedError("a language model has no encoder")

    def encoder_mask(self, memory: Memory) -> Tensor:
        """There are no states; see `encoder_states`."""
        raise NotImplementedError("a language model has no encoder")
