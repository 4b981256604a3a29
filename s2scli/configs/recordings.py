"""Settings of `s2s preprocess` for sources that are no text: recordings, and features that others have computed."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.components import FRAME_READERS
from s2scli.registry import Names
from s2scli.schema import setting

# The heading of the help.
_RECORDINGS = "Recordings, features and pictures"
TEXT = "text"
_NO_TEXT = "source_type!=text"
_AUDIO = "source_type=audio"
_SPOKEN = "source_type=audio,features"


@dataclass(frozen=True, kw_only=True)
class RecordingsConfig:
    """What sources are made of, how frames are made of recordings, and which are left out of the training data."""

    source_type: str = setting(
        TEXT,
        "what sources are: text, audio: recordings that the manifest --train-file names, or features: matrices that "
        "others have computed, [frames, features], in .npy, .npz, .zip, .ark or .safetensors, or image: pictures; in "
        "place of a manifest --train-source x.scp and --train-target text, as Kaldi has them",
        choices=Names(TEXT, FRAME_READERS),
        panel=_RECORDINGS,
        common=True,
    )
    id_field: str | None = setting(
        None,
        "the manifest's column or field with what each source is called; default: id, where there is one",
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )
    start_field: str | None = setting(
        None,
        "that with the second of its file at which a source begins; default: start or offset, where there is one",
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )
    end_field: str | None = setting(
        None,
        "that with the second at which it ends; default: end, or offset and duration, where there is one",
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )
    sample_rate: int = setting(
        0,
        "rate to which recordings of another are resampled; 0: that of the first",
        unit="Hz",
        at_least=0,
        at_most=1_000_000,
        panel=_RECORDINGS,
        needs=_AUDIO,
    )
    num_mel_bins: int = setting(
        80, "mel bands of a frame", at_least=1, at_most=4096, panel=_RECORDINGS, needs=_AUDIO
    )
    frame_length: float = setting(
        25.0, "length of a frame", unit="ms", above=0, at_most=10_000, panel=_RECORDINGS, needs=_AUDIO
    )
    frame_shift: float = setting(
        10.0,
        "how far the beginnings of frames are apart, in those of given features too",
        unit="ms",
        above=0,
        at_most=10_000,
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )
    deltas: int = setting(
        0,
        "put behind each frame how it changes, 1, and how that changes, 2",
        at_least=0,
        at_most=2,
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )
    cmvn: str = setting(
        "utterance",
        "mean 0 and deviation 1 of each feature: over the source, or global: over the training data",
        choices=("utterance", "global", "none"),
        panel=_RECORDINGS,
        common=True,
        needs=_NO_TEXT,
    )
    feature_dtype: str = setting(
        "auto",
        "type in which features are stored; auto: float16, or where one is beyond 65,504, which that cannot hold, "
        "float32",
        choices=("auto", "float16", "float32"),
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )
    patch_size: int = setting(
        0,
        "read pictures in square patches with sides of so many pixels, row by row; 0: column by column",
        unit="pixels",
        at_least=0,
        at_most=4096,
        panel=_RECORDINGS,
        needs="source_type=image",
    )
    speed_perturb: tuple[float, ...] = setting(
        (1.0,),
        "speeds at which each training source is there: 0.9,1.0,1.1; recordings are resampled, which changes their "
        "pitch too, and given features are interpolated between frames",
        at_least=0.1,
        at_most=10,
        panel=_RECORDINGS,
        common=True,
        needs=_SPOKEN,
    )
    max_frames: int = setting(
        0,
        "leave longer sources out of the training data; 0: none",
        unit="frames",
        at_least=0,
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )
    min_frames: int = setting(
        0,
        "leave shorter sources out of the training data",
        unit="frames",
        at_least=0,
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )
    broken_sources: str = setting(
        "error",
        "sources that cannot be read: stop, or skip the pair (training only)",
        choices=("error", "skip"),
        panel=_RECORDINGS,
        needs=_NO_TEXT,
    )

    @property
    def has_text_source(self) -> bool:
        """Whether sources are text."""
        return self.source_type == TEXT
