"""How many outputs of a model that are not the reference are search errors, and how many model errors, by beam width.

search_errors.py CHECKPOINT SOURCE REFERENCE --lines 200 --beams 1 5 20
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from s2scli.configs.generate import GenerateConfig
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator


def main() -> None:
    """Print for each beam width the counts of verdicts, and by what references were pruned."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5, 20])
    arguments = parser.parse_args()
    texts = (
        path.read_text(encoding="utf-8").splitlines() for path in (arguments.source, arguments.reference)
    )
    pairs = list(zip(*texts, strict=True))[: arguments.lines]
    lines = [Line(number, source, reference) for number, (source, reference) in enumerate(pairs)]
    for beam in arguments.beams:
        config = GenerateConfig(path=arguments.checkpoint, beam=beam, threads=1, device="cpu")
        translator = make_translator(config)
        verdicts: Counter[str] = Counter()
        fates: Counter[str] = Counter()
        behind = 0.0
        for line in lines:
            trace = translator.trace(line, with_reference=True).trace
            assert trace.wished is not None
            verdicts[trace.verdict] += 1
            fates[trace.wished.fate or ("never left" if trace.wished.left is None else "no candidate")] += 1
            behind += trace.outputs[0][1] - trace.wished.score
        print(
            f"beam {beam}: {dict(verdicts)}; left by {dict(fates)}; outputs score {behind / len(lines):.3f} nats a "
            "token more than references, on average",
            flush=True,
        )


if __name__ == "__main__":
    main()
