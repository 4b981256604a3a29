"""Reading the pairs of training data, with what is drawn anew for each sentence in each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2scli.configs.noise import NoiseConfig, NoNoiseConfig
from s2scli.configs.sampling import DEFAULT_ALPHA, DEFAULT_BPE_DROPOUT, SamplingConfig
from s2scli.data.column import Indices
from s2scli.data.dataset import AS_IT_IS, Dataset, ReadOptions
from s2scli.data.denoising import MaskedText
from s2scli.data.noise import WordNoise
from s2scli.data.padding import Padded, PaddedFrames, pad, pad_frames
from s2scli.data.source_form import SourceForm
from s2scli.data.split import Split
from s2scli.data.transforms import Example, Transform
from s2scli.errors import UsageError
from s2scli.schema import LARGEST_WHOLE
from s2scli.text.subword_sampling import SubwordSampling, word_starts
from s2scli.text.tokenizer import Tokenizer

# What is drawn for: numbers that are never given away again, lest a resumed run draws otherwise.
_PURPOSES = {"source": 1, "target": 2, "noise": 3, "output": 4, "dropout": 5, "denoising": 6}
# Numbers drawn at once.
_CHUNK = 128


class Draws:
    """Random numbers as a function of (seed, epoch, example, purpose) alone.

    They are a counter's, encrypted (Philox, Salmon et al. 2011): the seed is the key and the rest the counter, so
    that beginning anywhere costs no more than going on.
    """

    def __init__(self, seed: int) -> None:
        philox = np.random.Philox(key=np.random.SeedSequence(seed).generate_state(2, np.uint64))
        self._generator = np.random.Generator(philox)
        # A counter whose numbers so far are all used up.
        self._state: Any = philox.state
        self._philox: Any = philox

    def begin(self, epoch: int, example: int, purpose: str) -> np.random.Generator:
        """The generator at the beginning of what is drawn for an example; it is the same object each time."""
        self._state["state"]["counter"][:] = (0, _PURPOSES[purpose], example, epoch)
        self._philox.state = self._state
        return self._generator

    def uniform(self, epoch: int, example: int, purpose: str) -> Iterator[float]:
        """Numbers in [0, 1), without an end; to be used before the next begin."""
        generator = self.begin(epoch, example, purpose)
        return chain.from_iterable(iter(lambda: generator.random(_CHUNK).tolist(), None))


class PaddedPairs(NamedTuple):
    """The sources and the targets of some pairs; where there are no sources, empty ones."""

    source: Padded | PaddedFrames
    target: Padded


Sequences = Sequence[Sequence[int] | NDArray[np.integer]]


def _padded(split: Split, examples: Sequence[int], sources: Sequences, targets: Sequences) -> PaddedPairs:
    """Pad the ids of some pairs; for a model that copies, with those of the extended vocabulary."""
    copying = split.view.copying
    of_source, of_target = split.special("source"), split.special("target")
    if copying is None:
        return PaddedPairs(pad(sources, of_source), pad(targets, of_target))
    extended = []
    for example, source, target in zip(examples, sources, targets, strict=True):
        sides = (source, split.text("source", example)), (target, split.text("target", example))
        try:
            extended.append(copying.pair(*sides, right_to_left=split.view.right_to_left))
        except ValueError:
            raise split.mismatch(example) from None
    return PaddedPairs(
        pad(sources, of_source, [source for source, _ in extended], of_target),
        pad(targets, of_target, [target for _, target in extended]),
    )


def _with_frames(split: Split, indices: Indices, targets: Sequences) -> PaddedPairs:
    """Read and pad the frames of some pairs, with these targets."""
    sources = pad_frames(split.frames_of("source", indices))
    return PaddedPairs(sources, pad(targets, split.special("target")))


def read_pairs(split: Split, indices: Indices) -> PaddedPairs:
    """Read and pad some pairs, as they are in the dataset."""
    targets = split.ids_of("target", indices)
    if split.features("source") is not None:
        return _with_frames(split, indices, targets)
    has_source = "source" in split.columns
    sources: Sequences = split.ids_of("source", indices) if has_source else [()] * len(indices)
    return _padded(split, indices.tolist(), sources, targets)


class Sentences:
    """Reads and pads training pairs; with sampling or noise, a sentence is another one in each epoch.

    What is drawn for a sentence depends on the seed, the epoch and its number in the split only. A sampled sentence
    may be longer than the one that its batch was planned by, but not longer than limits, those of the dataset: where
    the dataset's own ids were cut there, so is it, and otherwise it is left as it is in the dataset. transforms: what
    each example goes through then, in order.

    Raises UsageError where a tokenizer has no subwords to sample.
    """

    def __init__(
        self,
        split: Split,
        config: SamplingConfig,
        *,
        tokenizers: Mapping[str, Tokenizer],
        limits: Mapping[str, Any],
        seed: int,
        form: SourceForm,
        noise: NoiseConfig | None = None,
    ) -> None:
        self._split = split
        self._seed = seed
        self._limits = limits
        self._form = form
        self._marks = form.marks(tokenizers["source"]) if "source" in tokenizers else frozenset()
        if split.features("source") is not None and (config.has_noise or "source" in config.subword_sides):
            raise UsageError(
                "--word-dropout, --word-mask, --word-shuffle and --subword-sampling source change words of the source, "
                "and the dataset's sources are frames; leave them out"
            )
        self._subwords = _subword_sampling(config, tokenizers)
        self._transforms = _transforms(config, noise or NoNoiseConfig(), tokenizers, self._marks)

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        split: str,
        config: SamplingConfig,
        seed: int,
        options: ReadOptions = AS_IT_IS,
        noise: NoiseConfig | None = None,
    ) -> Sentences:
        """Those of a dataset's split; UsageError for noise in text that is not of one language."""
        examples = dataset.split(split, options)
        return cls(
            examples,
            config,
            tokenizers={side: dataset.tokenizer(side) for side in examples.text_columns},
            limits=_tighter(dataset.meta["limits"], options.longest),
            form=dataset.source_form,
            seed=seed,
            noise=noise,
        )

    @property
    def samples(self) -> bool:
        """Whether sentences are other than in the dataset, so that only what is loaded tells how long they are."""
        return bool(self._subwords or self._transforms)

    def read(self, indices: Indices, epoch: int) -> PaddedPairs:
        """Read and pad some pairs, as they are in an epoch."""
        if not self.samples:
            return read_pairs(self._split, indices)
        examples = indices.tolist()
        # Not its own: a batch may be read in a thread while another is read elsewhere.
        draws = Draws(self._seed)
        targets = self._ids("target", indices, epoch, draws)
        if self._split.features("source") is not None:
            return _with_frames(self._split, indices, targets)
        if "source" not in self._split.columns:
            return _padded(self._split, examples, [()] * len(indices), targets)
        sources = self._ids("source", indices, epoch, draws)
        if self._transforms:
            pairs = zip(examples, sources, targets, strict=True)
            transformed = [
                self._transformed(Example(*map(_listed, ids)), at, epoch, draws) for at, *ids in pairs
            ]
            sources, targets = zip(*transformed, strict=True)
        return _padded(self._split, examples, sources, targets)

    def _transformed(self, example: Example, number: int, epoch: int, draws: Draws) -> Example:
        """An example as the transforms have it in an epoch, no longer than the limits."""
        step = -1 if self._split.view.right_to_left else 1
        example = example._replace(target=example.target[::step])
        for transform in self._transforms:
            example = transform(example, draws.begin(epoch, number, transform.purpose))
        source, target = example
        longest = {side: self._limits[f"max_{side}_length"] or LARGEST_WHOLE for side in ("source", "target")}
        if len(source) > longest["source"]:
            source = [*self._form.cut(source, longest["source"], self._marks)]
        return Example(source, target[: longest["target"]][::step])

    def _ids(self, side: str, indices: Indices, epoch: int, draws: Draws) -> Sequences:
        """The ids of one side of some pairs, sampled or as they are."""
        if side not in self._subwords:
            return self._split.ids_of(side, indices)
        return [self._sampled(side, example, epoch, draws) for example in indices.tolist()]

    def _sampled(
        self, side: str, example: int, epoch: int, draws: Draws
    ) -> Sequence[int] | NDArray[np.integer]:
        """The ids of one side of a pair with its subwords sampled, or as they are where those are too many."""
        text = self._split.text(side, example)
        ids: Sequence[int] = self._subwords[side].encode(text, draws.uniform(epoch, example, side))
        limit = self._limits[f"max_{side}_length"]
        if limit and len(ids) > limit:
            plain = self._split.ids(side, example)
            was_cut = self._limits["on_long"] == "truncate" and len(plain) == limit
            if not was_cut:
                return plain
            ids = self._form.cut(ids, limit, self._marks) if side == "source" else ids[:limit]
        return ids[::-1] if self._split.view.right_to_left and side == "target" else ids


def _listed(ids: Sequence[int] | NDArray[np.integer]) -> list[int]:
    """Ids as a list, of whatever they are."""
    return ids.tolist() if isinstance(ids, np.ndarray) else [*ids]


def _tighter(limits: Mapping[str, Any], longest: Mapping[str, int]) -> dict[str, Any]:
    """The limits of a dataset where a model has its own too."""
    names = {f"max_{side}_length": limit for side, limit in longest.items()}
    return {**limits, **{name: min(limits[name] or limit, limit) for name, limit in names.items()}}


def _subword_sampling(
    config: SamplingConfig, tokenizers: Mapping[str, Tokenizer]
) -> dict[str, SubwordSampling]:
    """How the subwords of each side that is to be sampled are; UsageError for a setting that none of them has."""
    alpha = DEFAULT_ALPHA if config.subword_alpha is None else config.subword_alpha
    dropout = DEFAULT_BPE_DROPOUT if config.bpe_dropout is None else config.bpe_dropout
    found = {
        side: SubwordSampling(tokenizers[side], alpha=alpha, dropout=dropout, side=side)
        for side in config.subword_sides
    }
    kinds = {sampling.kind for sampling in found.values()}
    for flag, value, kind, other in (
        ("--subword-alpha", config.subword_alpha, "unigram", "--bpe-dropout"),
        ("--bpe-dropout", config.bpe_dropout, "bpe", "--subword-alpha"),
    ):
        if value is not None and kinds and kind not in kinds:
            raise UsageError(
                f"{flag} {value:g} is for SentencePiece models of kind {kind}, and the tokenizer's is "
                f"{kinds.pop()}; give {other} instead"
            )
    return found


def _transforms(
    config: SamplingConfig, noise: NoiseConfig, tokenizers: Mapping[str, Tokenizer], marks: frozenset[int]
) -> list[Transform]:
    """What each example goes through as the settings have it: noise on words, then what is to be undone.

    UsageError where a vocabulary has not the symbols for that.
    """
    found: list[Transform] = []
    if config.has_noise:
        found.append(
            WordNoise(
                np.array(word_starts(tokenizers["source"])),
                tokenizers["source"].special.unknown,
                dropout=config.word_dropout,
                mask=config.word_mask,
                shuffle=config.word_shuffle,
                marks=marks,
            )
        )
    if "source" in tokenizers:
        denoised = noise.builder(noise, MaskedText(tokenizers["source"], noise, marks))
        found += [] if denoised is None else [denoised]
    return found


_in_worker: list[Sentences] = []


def start_worker(dataset: Path, *arguments: Any) -> None:
    """Make a process ready for `read_in_worker`; arguments: those of Sentences.of but for the dataset."""
    _in_worker.append(Sentences.of(Dataset.open(dataset), *arguments))


def read_in_worker(job: tuple[Sequence[Indices], int]) -> list[PaddedPairs]:
    """Read the pairs of some batches in an epoch."""
    batches, epoch = job
    return [_in_worker[0].read(indices, epoch) for indices in batches]
