"""What every model can do: be trained by teacher forcing, and decode a beam of hypotheses step by step.

Rows of a memory are source sentences, [B, …]: it is never repeated per hypothesis. Rows of a state are
hypotheses, [B, K, …]. A search needs nothing else, so it drives every model alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.console import counted
from s2scli.data.batch import Batch, Source, decoder_input
from s2scli.errors import UsageError
from s2scli.nn.copying import Hidden
from s2scli.nn.ctc import CTCHead
from s2scli.nn.frame_embedder import FrameEmbedder
from s2scli.nn.kernels.chunked import chunk_rows
from s2scli.nn.output import OutputLayer
from s2scli.text.vocabulary import SpecialSymbols


class Memory(ABC):
    """What a model keeps of its source sentences, computed once."""

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """The memory of some sentences; rows [any]: indices into B."""

    @abstractmethod
    def join(self, other: Self) -> Self:
        """The memory of these sentences and then others."""


class State(ABC):
    """What a model keeps of hypotheses, between one step and the next."""

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """The state of some sentences' hypotheses; rows [any]: indices into B."""

    @abstractmethod
    def reorder(self, beams: Tensor) -> Self:
        """The state whose hypothesis k of sentence b is hypothesis beams[b, k] of this one; beams [B, new K].

        The beams may be in the host's memory, where the state is on a device. This state must not be used again.
        """

    @abstractmethod
    def join(self, other: Self) -> Self:
        """The state of these sentences' hypotheses and then of as many of others."""


@dataclass(frozen=True)
class StepOutput:
    """What one decoding step gives: scores of each hypothesis' next token, and the state after the tokens it has read.

    scores [B, K, V]: their softmax is the distribution of the next token, unless is_normalized: then they count as
    log-probabilities as they are. Of a model that copies they are [B, K, V + E]: after the vocabulary come the words
    that only a source has.
    """

    scores: Tensor
    state: State
    is_normalized: bool = False

    def log_probabilities(self) -> Tensor:
        """The log-probabilities (base e) of the next tokens, [B, K, V] or [B, K, V + E], in a tensor of their own."""
        return self.scores.clone() if self.is_normalized else self.scores.log_softmax(-1)


class Decodable(ABC):
    """What a search drives: a model, or several as one."""

    # The most tokens, end symbol counted, that encoder and decoder have positions for; None: any number.
    max_source_positions: int | None = None
    max_target_positions: int | None = None
    # The size of the target vocabulary, V.
    target_size: int
    # The special symbols of the target vocabulary and of the source vocabulary.
    symbols: SpecialSymbols
    source_symbols: SpecialSymbols
    # Whether there are sources; a language model has none, and what is typed is the beginning of a target.
    reads_source: bool = True
    # Whether words are copied from the source: sources come with their extended ids, and the scores are [B, K, V + E].
    copies: bool = False

    @property
    @abstractmethod
    def members(self) -> list[Model]:
        """The models that it is made of."""

    @abstractmethod
    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """The same with what `make` makes of each model in place of that model."""

    def at_temperature(self, temperature: float) -> Decodable:
        """The same with its scores divided by a temperature before they become probabilities."""
        return Tempered(self, temperature)

    @abstractmethod
    def encode(self, source: Source) -> Memory:
        """Read the sources."""

    def encoded_lengths(self, source: Source) -> Tensor:
        """How many positions the encoder has of each source, [B]: its tokens, or what is left of its frames."""
        return source.lengths

    @property
    def frame_stride(self) -> int:
        """The frames of a source from one position of the encoder to the next; 1 where the source is tokens."""
        return 1

    @abstractmethod
    def start(self, memory: Memory) -> State:
        """The state of one empty hypothesis a sentence, K = 1."""

    @abstractmethod
    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow.

        The first token is the start symbol; a word that was copied from beyond the vocabulary is given as unknown. The
        given state must not be used again.
        """

    @abstractmethod
    def score_targets(self, batch: Batch) -> Tensor:
        """The log-probability of each target token given those before it, [B, T]; 0 where there is padding."""

    @abstractmethod
    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """How much of the attention each source token has when a target token is predicted, [B, T, S].

        Of frames it is each position of the encoder, see `encoded_lengths`, in place of a token. End symbols count. The
        rows of target tokens sum to 1; padding of either side has 0. layer: of several that attend the one to ask, from
        0 at the bottom, or the last. Raises UsageError where none attends.
        """


class WrappedModel(Decodable):
    """A model with another way to score the next token; it does all else as the model does it."""

    def __init__(self, model: Decodable) -> None:
        self._model = model
        self.max_source_positions = model.max_source_positions
        self.max_target_positions = model.max_target_positions
        self.target_size = model.target_size
        self.symbols, self.source_symbols = model.symbols, model.source_symbols
        self.reads_source, self.copies = model.reads_source, model.copies

    @property
    def members(self) -> list[Model]:
        """The models that it is made of."""
        return self._model.members

    def encode(self, source: Source) -> Memory:
        """Read the sources."""
        return self._model.encode(source)

    def encoded_lengths(self, source: Source) -> Tensor:
        """How many positions the wrapped model has of each source, [B]."""
        return self._model.encoded_lengths(source)

    @property
    def frame_stride(self) -> int:
        """The frames of a source from one position of the wrapped model to the next."""
        return self._model.frame_stride

    def start(self, memory: Memory) -> State:
        """The state of one empty hypothesis a sentence, K = 1."""
        return self._model.start(memory)

    def score_targets(self, batch: Batch) -> Tensor:
        """The log-probability that the wrapped model gives each target token, [B, T]; 0 where there is padding."""
        return self._model.score_targets(batch)

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """How much of the wrapped model's attention each source token has, [B, T, S]; see Decodable."""
        return self._model.attention(batch, layer)


class Tempered(WrappedModel):
    """A model whose next tokens have the probabilities softmax(scores / temperature), as in fairseq.

    Targets that are given are scored, and attended, at temperature 1.
    """

    def __init__(self, model: Decodable, temperature: float) -> None:
        super().__init__(model)
        self._temperature = temperature

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """What is made of the models, at the same temperature."""
        return Tempered(self._model.with_models(make), self._temperature)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow."""
        output = self._model.step(tokens, memory, state)
        return StepOutput(output.scores / self._temperature, output.state)


class Model(nn.Module, Decodable):
    """A sequence-to-sequence model over two vocabularies."""

    # The width of `encoder_states`, and the size of the source vocabulary.
    encoder_width: int
    source_size: int
    output: OutputLayer[Any]
    # Whether its blocks are such that an adapter can be put beside them, and the part that one is, if there is one.
    adapts: ClassVar[bool] = False
    adapter: nn.Module | None = None
    # What else reads the encoder's states, by name, see `build_model`; a checkpoint keeps it as `head.NAME`.
    head: nn.ModuleDict | None

    @property
    def ctc_head(self) -> CTCHead | None:
        """The CTC head, where there is one."""
        return cast(CTCHead, self.head["ctc"]) if self.head is not None and "ctc" in self.head else None

    @property
    def members(self) -> list[Model]:
        """The model itself."""
        return [self]

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """What is made of the model."""
        return make(self)

    def keep_layers(self, side: str, numbers: Sequence[int]) -> None:
        """Leave out all layers of a side, "encoder" or "decoder", but some, from 0 at the bottom (Fan et al. 2020).

        Raises UsageError for layers that there are not, and for models that cannot do without one.
        """
        raise UsageError(
            f"--{side}-layers-to-keep {','.join(map(str, numbers))}: is for Transformers, whose layers can be left "
            "out; leave it out"
        )

    @property
    @abstractmethod
    def embeddings(self) -> dict[str, nn.Embedding]:
        """The table of each side that is read, "source" and "target"; they may be one."""

    @property
    def vocabulary_tensors(self) -> dict[str, tuple[str, Tensor]]:
        """What has a row for each symbol of a vocabulary, by what it is for: the side whose vocabulary, and the tensor.

        Those that are tied are one tensor. A CTC head's have a row more, for the blank.
        """
        found: dict[str, tuple[str, Tensor]] = {
            f"{side} embeddings": (side, table.weight) for side, table in self.embeddings.items()
        }
        layers = {"output": self.output, "CTC head": self.ctc_head}
        for use, layer in layers.items():
            if layer is not None:
                found[f"{use} weight"] = "target", layer.weight
                if layer.bias is not None:
                    found[f"{use} bias"] = "target", layer.bias
        return found

    @property
    def frame_embedder(self) -> FrameEmbedder | None:
        """What frames are embedded by, where the source is frames."""
        return None

    def encoded_lengths(self, source: Source) -> Tensor:
        """How many positions the encoder has of each source, [B]: its tokens, or what is left of its frames."""
        embedder = self.frame_embedder
        return source.lengths if embedder is None else embedder.frontend.shortened(source.lengths)

    @property
    def frame_stride(self) -> int:
        """The frames of a source from one position of the encoder to the next; 1 where the source is tokens."""
        embedder = self.frame_embedder
        return 1 if embedder is None else embedder.frontend.stride

    @abstractmethod
    def embed(self, source: Source) -> tuple[Tensor, Tensor]:
        """Vectors [B, S, D] for the encoder to read, and where they are no padding, [B, S].

        Of tokens there is one each; of frames there may be fewer, see `encoded_lengths`.
        """

    @abstractmethod
    def encode_embedded(self, x: Tensor, mask: Tensor, words: Tensor | None = None) -> Memory:
        """Read what `embed` has given, x [B, S, D] and mask [B, S].

        words [B, S]: for a model that copies, the extended ids of the source's tokens, see `Tokens`.
        """

    def encode(self, source: Source) -> Memory:
        """Read the sources."""
        return self.encode_embedded(*self.embed(source), source.extended if self.copies else None)

    def source_order(self, mask: Tensor) -> Tensor:
        """Which position of its source each of the vectors that `embed` gives is of, [B, S]; mask [B, S]."""
        return torch.arange(mask.size(1), device=mask.device).expand_as(mask)

    @abstractmethod
    def encoder_states(self, memory: Memory) -> Tensor:
        """One state for each position of `embed`, [B, S, encoder_width], of a memory as `encode` gave it."""

    @abstractmethod
    def encoder_mask(self, memory: Memory) -> Tensor:
        """Which of `encoder_states` are no padding, [B, S]."""

    @abstractmethod
    def embed_target(self, inputs: Tensor) -> Tensor:
        """Vectors [B, T, D] for the decoder to read, of the tokens inputs [B, T]."""

    @abstractmethod
    def decode_embedded(self, memory: Memory, embedded: Tensor) -> Hidden:
        """Read what `embed_target` has given, embedded [B, T, D], and give the states that `decode` gives."""

    def decode(self, memory: Memory, inputs: Tensor) -> Hidden:
        """States [B, T, D]: the one of position t predicts target t from what is read up to t, inputs [B, T].

        Those of a model that copies say what to copy too.
        """
        return self.decode_embedded(memory, self.embed_target(inputs))

    def decode_mixed(
        self, memory: Memory, inputs: Tensor, own: Tensor, predict: Callable[[Hidden], Tensor]
    ) -> Hidden:
        """`decode`, but that where own [B, T] is true it reads what the model predicts there in place of inputs.

        predict: the next tokens [B, any] after hidden states [B, any, D]. This takes two passes (Mihaylova and Martins
        2019): the predictions after the given inputs are read in the second. A model that goes step by step does it
        in one, and predicts from what it has read itself.
        """
        with torch.no_grad():
            predicted = F.pad(predict(self.decode(memory, inputs))[:, :-1], (1, 0), value=self.symbols.start)
        return self.decode(memory, torch.where(own, predicted, inputs))

    @abstractmethod
    def decode_step(self, tokens: Tensor, memory: Memory, state: State) -> tuple[Hidden, State]:
        """`decode` for the newest position of K hypotheses a sentence, which have read what is before it already.

        tokens [B, K]: the newest of each. Gives decoder states [B, K, D], which predict the next tokens, and the state
        after these; the given state must not be used again.
        """

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow."""
        hidden, state = self.decode_step(tokens, memory, state)
        return StepOutput(self.output(hidden).float(), state, self.output.is_normalized)

    def forward(self, batch: Batch) -> Hidden:
        """Hidden states [B, T, D] that predict each target position from those before it (teacher forcing)."""
        assert batch.target is not None
        return self.decode(self.encode(batch.source), decoder_input(batch.target, self.symbols.start))

    def score_targets(self, batch: Batch) -> Tensor:
        """The log-probability of each target token given those before it, [B, T]; 0 where there is padding."""
        assert batch.target is not None
        mask = batch.target.mask
        predicted = batch.target.predicted if self.copies else batch.target.ids
        hidden, targets = self(batch)[mask], predicted[mask]
        rows = chunk_rows(self.output.weight.size(0))
        parts = [
            F.cross_entropy(self.output(part).float(), wanted, reduction="none")
            for part, wanted in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        losses = torch.cat(parts)
        return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, -losses)

    def blocks(self) -> list[nn.Module]:
        """The repeated layers, which are compiled, and sharded over processes, one by one; none by default."""
        return []


def chosen_layer(layer: int | None, count: int) -> int:
    """The decoder layer whose attention is meant, of so many, by default the last; UsageError if there is none such.

    layer: from 0 at the bottom, or from -1 at the top.
    """
    layer = -1 if layer is None else layer
    if not -count <= layer < count:
        raise UsageError(
            f"--alignment-layer {layer}: the model has {counted(count, 'decoder layer')}; allowed: 0 to "
            f"{count - 1}, or "
            f"-1 to {-count} from the top"
        )
    return layer % count
