"""How often the strongest source of a token is the one that a statistical aligner gives it, on real text.

The tokens of references are explained by each method of `s2s explain`, attention by each decoder layer. The aligner is
IBM model 1 (data/lexical.py), learnt from the training text in the pieces of the model; tokens that it links to NULL
are not counted, and of the same piece at several positions each is right. Beside the methods: the position at the same
share of the source's length.

aligned_sources.py CHECKPOINT SOURCE REFERENCE --train train.en train.de --lines 200
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2scli.components import ATTRIBUTIONS
from s2scli.configs.explain import ExplainConfig
from s2scli.data.lexical import Lexicon, lexicon_of
from s2scli.inference.engine import Explaining
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.text.tokenizer import Tokenizer

Tokenizers = tuple[Tokenizer, Tokenizer]
# The positions that are right for each target token; empty where it has no source.
Links = list[list[int]]


class Aligner:
    """IBM model 1 of the pieces of a model."""

    def __init__(self, texts: Sequence[Sequence[str]], tokenizers: Tokenizers) -> None:
        self._tokenizers = tokenizers
        sides = [
            [np.array(tokenizer.encode(text), np.int64) for text in lines]
            for tokenizer, lines in zip(tokenizers, texts, strict=True)
        ]
        sizes = {
            name: len(one.vocabulary) for name, one in zip(("source", "target"), tokenizers, strict=True)
        }
        self._null, self._targets = sizes["source"], sizes["target"]
        found: Lexicon = lexicon_of(sides[0], sides[1], sizes)
        self._keys = found.sources * self._targets + found.targets
        self._probabilities = found.probabilities

    def links(self, source: str, target: str) -> Links:
        """The positions of the source that each piece of the target most probably comes from."""
        ids, wanted = (one.encode(text) for one, text in zip(self._tokenizers, (source, target), strict=True))
        found: Links = []
        for piece in wanted:
            probabilities = self._of(np.array([*ids, self._null], np.int64) * self._targets + piece)
            best = probabilities.max()
            is_linked = best > 0 and probabilities[-1] < best
            found.append(np.flatnonzero(probabilities[:-1] == best).tolist() if is_linked else [])
        return found

    def _of(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[places] == keys, self._probabilities[places], 0.0)


def share_of_links(config: ExplainConfig, lines: Sequence[Line], links: Sequence[Links]) -> float:
    """The share of tokens whose strongest source is the aligner's."""
    translator = replace(make_translator(config.of_generate()), explains=Explaining(config))
    right, total = 0, 0
    for record, wanted in zip(translator.records(lines, 8), links, strict=True):
        (item,) = record.hypotheses
        assert item.attribution is not None
        # The end symbol has no link.
        for shares, places in zip(item.attribution.source, wanted, strict=False):
            right += bool(places) and int(np.argmax(shares)) in places
            total += bool(places)
    return right / total


def main() -> None:
    """Print a line for each method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("checkpoint", "source", "reference"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--train", type=Path, nargs=2, required=True)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--layers", type=int, default=4, help="decoder layers whose attention is compared")
    parser.add_argument("--completeness", type=float, default=0.01, help="of integrated gradients")
    parser.add_argument("--methods", nargs="+", choices=ATTRIBUTIONS, default=[*ATTRIBUTIONS])
    arguments = parser.parse_args()
    plain: dict[str, Any] = {
        "path": arguments.checkpoint,
        "completeness": arguments.completeness,
        "device": "cpu",
        "threads": 1,
        "references": True,
    }
    opened = make_translator(ExplainConfig(**plain).of_generate())
    tokenizers = (opened.tokenizers["source"], opened.tokenizers["target"])
    aligner = Aligner([path.read_text(encoding="utf-8").splitlines() for path in arguments.train], tokenizers)
    texts = (
        path.read_text(encoding="utf-8").splitlines() for path in (arguments.source, arguments.reference)
    )
    pairs = list(zip(*texts, strict=True))[: arguments.lines]
    lines = [Line(number, source, reference) for number, (source, reference) in enumerate(pairs)]
    links = [aligner.links(*pair) for pair in pairs]
    linked = [(places, len(of_line), place, pair) for of_line, pair in zip(links, pairs, strict=True)
              for place, places in enumerate(of_line) if places]  # fmt: skip
    lengths = {pair: len(tokenizers[0].encode(pair[0])) for pair in pairs}
    diagonal = sum(round((place + 0.5) / length * lengths[pair] - 0.5) in places
                   for places, length, place, pair in linked)  # fmt: skip
    print(
        f"{len(linked)} linked of {sum(map(len, links))} tokens; on the diagonal: {diagonal / len(linked):.1%}"
    )
    for method in arguments.methods:
        layers = range(arguments.layers) if method == "attention" else [None]
        for layer in layers:
            config = ExplainConfig(**plain, method=method, alignment_layer=layer)
            name = method if layer is None else f"{method} of layer {layer}"
            print(f"{name}: {share_of_links(config, lines, links):.1%}", flush=True)


if __name__ == "__main__":
    main()
