"""The settings of `s2s import`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.command import CommandConfig
from s2scli.registry import Names
from s2scli.schema import setting

# A heading of the help.
_VOCABULARIES = "Vocabularies"


@dataclass(frozen=True, kw_only=True)
class ImportConfig(CommandConfig):
    """Which model of another toolkit to make a checkpoint of, and where."""

    source: Path = setting(
        ...,
        "file with the weights, or the folder that it is in with its settings and vocabularies",
        argument=True,
    )
    save_dir: Path = setting(..., "folder to write the checkpoint into, as s2s train does", common=True)
    from_: str | None = setting(
        None,
        "what kind of model it is; by default found out from the files",
        choices=Names(FOREIGN_FAMILIES),
        common=True,
    )
    base: Path | None = setting(
        None,
        "where what is imported is an adapter of PEFT, the folder of transformers that it is for; s2s import makes the "
        "model of that",
        common=True,
    )
    source_lang: str = setting(
        "",
        "source language, where the files do not say it, or of a model that knows several",
        short="-s",
        common=True,
    )
    target_lang: str = setting("", "target language, likewise", short="-t", common=True)
    srcdict: Path | None = setting(
        None,
        "source vocabulary, fairseq's dict.txt; by default the one in the folder",
        panel=_VOCABULARIES,
    )
    tgtdict: Path | None = setting(
        None,
        "target vocabulary, fairseq's dict.txt; by default the one in the folder",
        panel=_VOCABULARIES,
    )
    source_sentencepiece: Path | None = setting(
        None,
        "SentencePiece model that splits the source; by default the one in the folder, if there is one",
        panel=_VOCABULARIES,
    )
    target_sentencepiece: Path | None = setting(
        None,
        "SentencePiece model of the target; by default that of the source",
        panel=_VOCABULARIES,
    )
