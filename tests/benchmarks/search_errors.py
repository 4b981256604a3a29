"""How many outputs of a model that are not the reference are search errors, and how many model errors, by beam width.

search_errors.py CHECKPOINT SOURCE REFERENCE --lines 200 --beams 1 5 20

A model hardly ever likes human references better than its outputs. What a wider beam has found it mostly does, so that
such outputs as REFERENCE give search errors.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from s2scli.configs.generate import GenerateConfig
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.traces import BEAM, ENDED, KEPT, BeamTrace


def is_borne_out(trace: BeamTrace) -> bool:
    """Whether forced decoding bears out what is told of the reference's beginning, up to where the search lost it.

    It was extended up to there, and unless a rule or the search's end pruned it then, the sum of its forced
    log-probabilities is no more than that of any extension that was kept. One that was never lost came to its end, as
    the output or behind it.
    """
    wished = trace.wished
    assert wished is not None
    wanted = [item.token for item in wished.tokens]
    if wished.left is None:
        ids, score = trace.outputs[0]
        return wanted == ids or wished.score <= score
    for number in range(wished.left):
        kept = [place for place, item in enumerate(trace.steps[number].extensions) if item.fate == KEPT]
        if wanted[: number + 1] not in [trace.tokens_at(number, place) for place in kept]:
            return False
    total = sum(item.log_p for item in wished.tokens[: wished.left + 1])
    others = [item.score for item in trace.steps[wished.left].extensions if item.fate in (KEPT, ENDED)]
    return wished.fate not in (None, BEAM) or (bool(others) and total <= min(others) + 1e-3)


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
        told_right: Counter[str] = Counter()
        fates: Counter[str] = Counter()
        behind = 0.0
        for line in lines:
            trace = translator.trace(line, with_reference=True).trace
            assert trace.wished is not None
            verdicts[trace.verdict] += 1
            told_right[trace.verdict] += is_borne_out(trace)
            fates[trace.wished.fate or ("never left" if trace.wished.left is None else "no candidate")] += 1
            behind += trace.outputs[0][1] - trace.wished.score
        print(
            f"beam {beam}: {dict(verdicts)}, of which forced decoding bears out {dict(told_right)}; left by "
            f"{dict(fates)}; outputs score {behind / len(lines):.3f} nats a token more than references, on average",
            flush=True,
        )


if __name__ == "__main__":
    main()
