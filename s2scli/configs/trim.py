"""The settings of `s2s trim`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.command import CommandConfig
from s2scli.errors import UsageError
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class TrimConfig(CommandConfig):
    """What to make smaller of which checkpoint, by what text or to what width, and where to write the result."""

    path: Path = setting(..., "checkpoint, or run folder, whose best one is meant", argument=True)
    keep: tuple[Path, ...] = setting(
        (),
        "text whose symbols stay: dataset folders, with all of their splits, or text files, each for both sides",
        common=True,
    )
    keep_source: tuple[Path, ...] = setting(
        (), "text files of the source language, whose symbols stay in the source vocabulary", common=True
    )
    keep_target: tuple[Path, ...] = setting(
        (), "text files of the target language, whose symbols stay in the target vocabulary", common=True
    )
    encoder_ffn_embed_dim: int = setting(
        0,
        "units that stay in each feed-forward layer of the encoder, those that weigh most; 0: all",
        at_least=0,
    )
    decoder_ffn_embed_dim: int = setting(0, "likewise in the decoder", at_least=0)
    output: Path = setting(..., "checkpoint to write", common=True)

    def __post_init__(self) -> None:
        if not (self.trims_symbols or any(self.units.values())):
            raise UsageError(
                "nothing says what is to stay; of the symbols: --keep with a dataset folder or text files, or "
                "--keep-source and --keep-target; of feed-forward layers: --encoder-ffn-embed-dim or "
                "--decoder-ffn-embed-dim"
            )

    @property
    def trims_symbols(self) -> bool:
        """Whether a text says which symbols stay."""
        return bool(self.keep or self.keep_source or self.keep_target)

    @property
    def units(self) -> dict[str, int]:
        """By side, how many units stay in each feed-forward layer; 0: all."""
        return {"encoder": self.encoder_ffn_embed_dim, "decoder": self.decoder_ffn_embed_dim}

    @property
    def texts(self) -> dict[str, tuple[Path, ...]]:
        """The text files of each side alone, by side."""
        return {"source": self.keep_source, "target": self.keep_target}
