"""What `s2s train` draws anew for each sentence in each epoch, and in which order lengths come."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.errors import UsageError
from s2scli.schema import setting

DEFAULT_ALPHA = 0.2
DEFAULT_BPE_DROPOUT = 0.1


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Sampled subwords and noise on training data, anew in each epoch; all off by default.

    Batches are planned by the lengths that the dataset has: sampled subwords are more, and take more memory.
    """

    subword_sampling: str = setting(
        "none",
        "split words into subwords anew in each epoch: subword regularization with unigram models, BPE-dropout with "
        "bpe models; on the source, the target or both (batches hold more tokens than --max-tokens then, which "
        "counts the usual subwords)",
        choices=("none", "source", "target", "both"),
    )
    subword_alpha: float | None = setting(
        None,
        "with --subword-sampling and a unigram model: segmentations are drawn in proportion to their probability to "
        f"this power; 0: all alike (default: {DEFAULT_ALPHA})",
        at_least=0,
        at_most=1000,
        needs="subword_sampling",
    )
    bpe_dropout: float | None = setting(
        None,
        "with --subword-sampling and a bpe model: the probability that a merge is left out at a step "
        f"(default: {DEFAULT_BPE_DROPOUT})",
        at_least=0,
        at_most=1,
        needs="subword_sampling",
    )
    word_dropout: float = setting(
        0.0, "probability that a source word is deleted; one word at least stays", at_least=0, below=1
    )
    word_mask: float = setting(
        0.0, "probability that a source word, with all its subwords, becomes one <unk>", at_least=0, below=1
    )
    word_shuffle: int = setting(
        0, "reorder source words at random, none by more than so many places; 0: no", at_least=0
    )
    corpus_weights: tuple[str, ...] = setting(
        (), "shares of the training corpora in an epoch: news=3,back=1; those not named have 1"
    )
    corpus_temperature: float = setting(
        1.0,
        "in place of weights: shares in proportion to size^(1/T); 1: as they are, more evens them out",
        at_least=1,
    )
    curriculum: int = setting(
        0,
        "in the first so many epochs batches are not shuffled, but come from short to long sentences (in each part of "
        "a million pairs, where there are more)",
        unit="epochs",
        at_least=0,
    )

    def __post_init__(self) -> None:
        if self.corpus_weights and self.corpus_temperature != 1:
            raise UsageError("--corpus-weights and --corpus-temperature both say how to mix; give one")

    @property
    def subword_sides(self) -> tuple[str, ...]:
        """The sides whose subwords are sampled."""
        return {"none": (), "both": ("source", "target")}.get(self.subword_sampling, (self.subword_sampling,))

    @property
    def has_noise(self) -> bool:
        """Whether source words are deleted, masked or moved."""
        return bool(self.word_dropout or self.word_mask or self.word_shuffle)
