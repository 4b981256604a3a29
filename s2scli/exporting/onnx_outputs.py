"""Greedy search with ONNX files in onnxruntime, as whoever uses them may do it: step by step, with what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from s2scli.exporting.onnx_graphs import ENCODER, FIRST_DECODER, NEXT_DECODER, PAST, POSITION, PRESENT

Arrays = dict[str, NDArray[Any]]
# onnxruntime's level of errors; warnings are of what machines have not.
_ERRORS = 3


class OnnxModel:
    """The files in a folder, loaded."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(_ERRORS)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS
        options.intra_op_num_threads = torch.get_num_threads()
        self._sessions = {
            path.stem: onnxruntime.InferenceSession(
                path, sess_options=options, providers=["CPUExecutionProvider"]
            )
            for path in sorted(folder.glob("*.onnx"))
        }

    def run(self, name: str, inputs: Arrays) -> Arrays:
        """All outputs of a file for those of the inputs that it has, by name."""
        session = self._sessions[name]
        wanted = [item.name for item in session.get_inputs()]
        outputs = [item.name for item in session.get_outputs()]
        found = session.run(outputs, {key: inputs[key] for key in wanted})
        return dict(zip(outputs, found, strict=True))


@dataclass(frozen=True, kw_only=True)
class GreedyRules:
    """What outputs are like, in the folder's ids.

    start: what the decoder reads first. never: what no output holds; first: what each begins with, if anything.
    shortest, longest: tokens of an output without its end symbol.
    """

    start: int
    end: int
    padding: int
    never: Sequence[int]
    first: int | None
    shortest: int
    longest: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> GreedyRules:
        """The rules in a generation_config.json."""
        return cls(
            start=settings["decoder_start_token_id"],
            end=settings["eos_token_id"],
            padding=settings["pad_token_id"],
            never=settings["suppress_tokens"],
            first=settings.get("forced_bos_token_id"),
            shortest=settings["min_new_tokens"],
            longest=settings["max_new_tokens"] - 1,
        )

    def next(self, scores: NDArray[Any], number: int) -> NDArray[Any]:
        """The tokens [B] with the highest scores [B, V] of those that may come after so many."""
        if number == 0 and self.first is not None:
            return np.full(len(scores), self.first)
        if number >= self.longest:
            return np.full(len(scores), self.end)
        scores[:, [*self.never, *([self.end] if number < self.shortest else [])]] = -np.inf
        best: NDArray[Any] = scores.argmax(-1)
        return best


def greedy_outputs(
    model: OnnxModel, ids: Sequence[Sequence[int]], mask: Sequence[Sequence[int]], rules: GreedyRules
) -> list[list[int]]:
    """The outputs for sources [B, S] of one batch, each with its end symbol; mask [B, S]: 1 where there is a token."""
    attended = np.array(mask, np.int64)
    states = model.run(ENCODER, {"input_ids": np.array(ids, np.int64), "attention_mask": attended})
    inputs: Arrays = {
        "encoder_attention_mask": attended,
        "encoder_hidden_states": states["last_hidden_state"],
    }
    newest = np.full(len(attended), rules.start, np.int64)
    outputs: list[list[int]] = [[] for _ in newest]
    is_open = np.ones(len(newest), bool)
    number = 0
    while is_open.any():
        inputs |= {"input_ids": newest[:, None], POSITION: np.array([number])}
        found = model.run(NEXT_DECODER if number else FIRST_DECODER, inputs)
        newest = np.where(is_open, rules.next(found.pop("logits")[:, -1], number), rules.padding)
        inputs |= {name.replace(PRESENT, PAST): array for name, array in found.items()}
        for row in is_open.nonzero()[0]:
            outputs[row].append(int(newest[row]))
        is_open &= newest != rules.end
        number += 1
    return outputs
