"""Files in the place of what can be read only once, since preprocessing reads text more than once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from s2scli.data.corpus import Corpus
from s2scli.files import open_own
from s2scli.io import can_be_read_again, explain_write_errors, read_raw_lines


def spooled(corpus: Corpus, folder: Path) -> Corpus:
    """The corpus with files in a folder for those of its files that are standard input, pipes or devices.

    Raises DataError for data in which no line ends, before it fills the disk.
    """
    if all(map(can_be_read_again, corpus.paths)):
        return corpus
    spools = []
    for number, path in enumerate(corpus.paths):
        if can_be_read_again(path):
            spools.append(path)
            continue
        spool = folder / f"input.{corpus.split}.{corpus.name}.{number}"
        with explain_write_errors(spool), open_own(spool, "wb") as stream:
            stream.writelines(read_raw_lines(path))
        spools.append(spool)
    return replace(corpus, spools=tuple(spools))
