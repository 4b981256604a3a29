"""ONNX graphs made operator by operator, and their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2scli import __version__

# Versions of ONNX's operators and of its files that runtimes have since 2023.
_OPSET, _FILE_VERSION = 17, 8
# A file of protocol buffers has less than 2 GiB; the weights of larger models are in a file beside it.
_MOST_BYTES = 1_800_000_000

Dimensions = Sequence[int | str]
"""The sizes of a tensor; one with a name may be any."""


class GraphBuilder:
    """A graph to which nodes are added in the order in which they are computed; values are known by their names.

    weights: the tensors that have names, as a model's parameters have.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        import onnx

        self._onnx = onnx
        self._names = {id(tensor): name for name, tensor in weights.items()}
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._counts: Counter[str] = Counter()
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        # The names that values have in the file, where they are outputs.
        self._renamed: dict[str, str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and give that; an input may be "" where the operator can do without."""
        return self.op_of_several(kind, 1, *inputs, **attributes)[0]

    def op_of_several(self, kind: str, number: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with so many outputs, and give those."""
        outputs = [self._new_name(kind) for _ in range(number)]
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Parts of so many elements of the last dimension."""
        return self.op_of_several("Split", len(sizes), x, self.whole(sizes), axis=-1)

    def reshaped(self, x: str, *sizes: int) -> str:
        """The same elements in other dimensions; 0: the size that is there, -1: what is left."""
        return self.op("Reshape", x, self.whole(sizes))

    def unsqueezed(self, x: str, *axes: int) -> str:
        """The same with dimensions of 1."""
        return self.op("Unsqueeze", x, self.whole(axes))

    def size(self, x: str, axis: int) -> str:
        """How large a dimension is, a scalar."""
        return self.op("Gather", self.op("Shape", x), self.whole(axis))

    def whole(self, value: Any) -> str:
        """A constant of whole numbers."""
        return self._constant(np.asarray(value, np.int64))

    def real(self, value: Any) -> str:
        """A constant of real numbers."""
        return self._constant(np.asarray(value, np.float32))

    def table(self, tensor: Tensor) -> str:
        """A tensor of float32 with the name that it has in the model, which several nodes may share."""
        return self._stored(self._names[id(tensor)], tensor.detach())

    def matrix(self, tensor: Tensor) -> str:
        """A weight [N, K] as products take it, [K, N]."""
        return self._stored(self._names[id(tensor)], tensor.detach().T)

    def is_stored(self, tensor: Tensor) -> bool:
        """Whether a tensor is in the file already."""
        return self._names[id(tensor)] in self._tensors

    def input(self, name: str, dtype: torch.dtype, sizes: Dimensions) -> str:
        """Add an input, and give it."""
        self._inputs.append(self._described(name, dtype, sizes))
        return name

    def output(self, name: str, value: str, sizes: Dimensions) -> None:
        """Make a value of float32 an output under a name."""
        self._renamed[value] = name
        self._outputs.append(self._described(name, torch.float32, sizes))

    def save(self, path: Path) -> None:
        """Write the file: the same bytes for the same graph and weights."""
        onnx = self._onnx
        for node in self._nodes:
            for values in (node.input, node.output):
                values[:] = [self._renamed.get(value, value) for value in values]
        size = sum(len(tensor.raw_data) for tensor in self._tensors.values())
        graph = onnx.helper.make_graph(
            self._nodes, path.stem, self._inputs, self._outputs, [*self._tensors.values()]
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
            ir_version=_FILE_VERSION,
            producer_name="s2s",
            producer_version=__version__,
        )
        external = {"save_as_external_data": True, "location": f"{path.name}_data"}
        onnx.save_model(model, path, **external if size > _MOST_BYTES else {})

    def _new_name(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}_{self._counts[kind]}"

    def _constant(self, array: Any) -> str:
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            name = self._constants[key] = self._new_name("constant")
            self._tensors[name] = self._onnx.numpy_helper.from_array(array, name)
        return self._constants[key]

    def _stored(self, name: str, tensor: Tensor) -> str:
        if name not in self._tensors:
            array = np.ascontiguousarray(tensor.float().cpu().numpy())
            self._tensors[name] = self._onnx.numpy_helper.from_array(array, name)
        return name

    def _described(self, name: str, dtype: torch.dtype, sizes: Dimensions) -> Any:
        kinds = self._onnx.TensorProto
        kind = {torch.int64: kinds.INT64, torch.float32: kinds.FLOAT}[dtype]
        return self._onnx.helper.make_tensor_value_info(name, kind, list(sizes))
