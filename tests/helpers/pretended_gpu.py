"""A GPU that is not there: tensors which say that they are on CUDA, and are computed on the CPU, while all is counted.

    with pretended_gpu() as counts:
        model.to(CUDA)
        ...
    counts.launches, counts.waits

Code that asks where a tensor is takes the ways that it takes on CUDA. Counted are the operators that start work there,
and the times that the host waits for all work that it has asked for: to read a number or a mask's length, and to copy
without `non_blocking`. What CUDA refuses, an operator over tensors of both devices, is an error here too.

Operators are counted as torch dispatches them below autograd; views start nothing. So one launch is at least one
kernel. A recurrent network of torch's and fused attention are one each, as cuDNN and torch's CUDA kernels have them.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_any, tree_flatten, tree_leaves, tree_map, tree_map_only, tree_unflatten

CUDA, _META, _CPU = torch.device("cuda"), torch.device("meta"), torch.device("cpu")
_PACKAGE = Path(__file__).resolve().parents[2] / "s2scli"
aten = torch.ops.aten
# What gives memory or another view of it, and starts nothing.
_NOTHING = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "detach",
    "alias",
    "lift_fresh",
}
_NOTHING |= {"_unsafe_view", "_reshape_alias", "set_", "resize_", "_local_scalar_dense"}
# Those whose result's size is a number that the device has.
_SIZED_BY_DATA = {
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "equal",
    "bincount",
}
# Under autocast: those whose floating-point inputs are in its precision, and in 32 bits, of those that are used here.
# These have the lengths of sequences on the CPU.
_PACKS = {"_pack_padded_sequence", "_pack_padded_sequence_backward", "_pad_packed_sequence"}
_NEW = object()
# One operator each on CUDA, whatever they are made of here.
_WHOLE = {"lstm", "gru", "rnn_tanh", "rnn_relu", "scaled_dot_product_attention", "rms_norm"}
_LOWER = {
    "linear",
    "matmul",
    "__matmul__",
    "bmm",
    "mm",
    "addmm",
    "baddbmm",
    "scaled_dot_product_attention",
    "conv1d",
}
_LOWER |= {"conv2d", "_in_projection", "lstm", "gru"}
_FULL = {
    "softmax",
    "log_softmax",
    "layer_norm",
    "rms_norm",
    "exp",
    "log",
    "cumsum",
    "logsumexp",
    "cross_entropy",
}
_FULL |= {"nll_loss", "norm", "pow", "rsqrt", "ctc_loss", "prod", "sum"}
# What torch asks of a GPU that is there.
_PRETENDED = {
    # Tensors that are made in inference mode cannot be views of such ones.
    "torch.inference_mode": torch.no_grad,
    "torch.Tensor.pin_memory": lambda tensor: tensor,
    "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
    "torch.cuda.is_bf16_supported": lambda *_: True,
    "torch.backends.cudnn.is_acceptable": lambda *_: False,
    "torch.nn.utils.clip_grad._has_foreach_support": lambda *_, **__: True,
    "torch.nn.utils.clip_grad._device_has_foreach_support": lambda *_: True,
}


@dataclass
class Counts:
    """How often what was asked of the device: launches by operator, and waits by where in the package they are."""

    launches: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.launches.clear()
        self.waits.clear()

    def wait(self, operator: str) -> None:
        """Note a wait, and the line of the package that it is for."""
        places = [item for item in traceback.extract_stack() if _PACKAGE in Path(item.filename).parents]
        where = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "a test"
        self.waits[f"{where} {operator}"] += 1


class OnDevice(Tensor):
    """A tensor that says that it is on CUDA; `raw` is where it is."""

    raw: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, raw: Tensor) -> OnDevice:
        made: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=_META,
        )
        made.raw = raw
        return made

    device = property(lambda _: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda _: True)  # type: ignore[assignment]
    is_meta = property(lambda _: False)  # type: ignore[assignment]

    def data_ptr(self) -> int:
        return self.raw.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of a pretended GPU outside of pretended_gpu()")

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.raw!r})"


def _raw(item: Any) -> Any:
    return item.raw if isinstance(item, OnDevice) else item


def _is_mask(item: Any) -> bool:
    return isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8)


class _Dispatched(TorchDispatchMode):
    """Computes on the CPU what is asked of the device, and counts it."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        is_there = tree_any(lambda item: isinstance(item, OnDevice), (args, kwargs))
        wanted = kwargs.get("device")
        if not is_there and (wanted is None or torch.device(wanted).type != "meta"):
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        goes = not is_there or wanted is None or torch.device(wanted).type == "meta"
        if wanted is not None:
            kwargs["device"] = _CPU
        self._count(func, name, args, kwargs, goes=goes)
        written = _written(func, args, kwargs)
        result = func(*tree_map(_raw, args), **tree_map(_raw, kwargs))
        if name in ("_conj", "_neg_view"):
            # Marks that a tensor of the device does not have.
            result = result.resolve_conj().resolve_neg()
        if name == "_local_scalar_dense" or not goes:
            return result
        if written is not _NEW:
            return written
        if name in ("_pack_padded_sequence", "_pad_packed_sequence"):
            return OnDevice(result[0]), result[1]
        return tree_map_only(Tensor, OnDevice, result)

    def _count(self, func: Any, name: str, args: Any, kwargs: Any, *, goes: bool) -> None:
        tensors = [item for item in tree_leaves((args, kwargs)) if isinstance(item, Tensor)]
        copies = name in ("_to_copy", "copy_")
        here = [item for item in tensors if not isinstance(item, OnDevice) and item.dim()]
        if any(item.is_meta for item in here):
            raise RuntimeError(f"{func}: a tensor of the pretended GPU was made past it")
        blocks = copies and not (kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,)))
        if name in ("index", "index_put_", "_index_put_impl_", "_unsafe_index"):
            blocks = any(isinstance(item, OnDevice) and _is_mask(item) for item in args[1])
            # Lists of numbers become tensors here, which are copied there.
            blocks = blocks or any(item is not None and not isinstance(item, OnDevice) for item in args[1])
        elif copies:
            blocks = (blocks and bool(here)) or not goes
        elif here and name not in _PACKS:
            raise RuntimeError(f"{func}: over tensors of both the CPU and CUDA, {[*map(type, tensors)]}")
        if name == "repeat_interleave" and kwargs.get("output_size") is None:
            blocks = True
        if blocks or name in _SIZED_BY_DATA or name == "_local_scalar_dense":
            self.counts.wait(name)
        if not (func.is_view or name in _NOTHING or (name == "_to_copy" and not goes)):
            self.counts.launches[name] += 1


def _written(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operator that writes in place gives back: one of its arguments; _NEW where it gives what is new."""
    schema = func._schema
    if not schema.returns:
        return None
    alias = schema.returns[0].alias_info
    if len(schema.returns) > 1 or alias is None or not alias.is_write:
        return _NEW
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return args[position] if position < len(args) else kwargs[argument.name]
    return _NEW


class _Called(TorchFunctionMode):
    """Says meta where Python says CUDA, and does what dispatching is too late for."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("__get__", "device"):
            return func(*args, **kwargs)
        if name == "tolist" and isinstance(args[0], OnDevice):
            self.counts.wait("tolist")
            return args[0].raw.tolist()
        if func is torch.tensor and _names_cuda(kwargs.get("device")):
            return torch.tensor(*args, **{**kwargs, "device": _CPU}).to(_META)
        if name in ("__getitem__", "__setitem__"):
            args = (args[0], _as_tensors(args[1]), *args[2:])
        args, kwargs = tree_map(_as_meta, args), tree_map(_as_meta, kwargs)
        if torch.is_autocast_enabled("cuda") and (name in _LOWER or name in _FULL):
            dtype = torch.get_autocast_dtype("cuda") if name in _LOWER else torch.float32
            args, kwargs = tree_map(partial(_cast, dtype=dtype), (args, kwargs))
        if name in _WHOLE and _is_there(args):
            return _whole(self.counts, name, func, args, kwargs)
        if func is F.dropout and _is_there(args):
            return _dropout(*args, **kwargs)
        return func(*args, **kwargs)


def _cast(item: Any, dtype: torch.dtype) -> Any:
    if not isinstance(item, OnDevice) or item.dtype == dtype or not item.is_floating_point():
        return item
    return item.to(dtype)


def _is_there(items: Any) -> bool:
    return tree_any(lambda item: isinstance(item, OnDevice), items)


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, **_: object) -> Tensor:
    return torch.native_dropout(x, p, True)[0] if training else x


def _names_cuda(item: Any) -> bool:
    return (isinstance(item, str) and item.startswith("cuda")) or (
        isinstance(item, torch.device) and item.type == "cuda"
    )


def _as_tensors(index: Any) -> Any:
    """An index whose lists of numbers are tensors, as torch makes them."""
    if isinstance(index, tuple):
        return tuple(map(_as_tensors, index))
    return torch.tensor(index) if isinstance(index, list) else index


def _as_meta(item: Any) -> Any:
    return _META if _names_cuda(item) else item


class _Whole(torch.autograd.Function):
    """A function of torch's over tensors of the device as one operator, with one for its gradient."""

    @staticmethod
    def forward(ctx: Any, counts: Counts, name: str, call: Any, *given: Tensor) -> Any:
        counts.launches[name] += 1
        raws = [_raw(item).detach() for item in given]
        if torch.is_grad_enabled() or any(ctx.needs_input_grad):
            with torch.enable_grad():
                for item in raws:
                    item.requires_grad_(item.is_floating_point())
                results = call(raws)
        else:
            results = call(raws)
        ctx.counts, ctx.name, ctx.raws, ctx.results = counts, name, raws, results
        if isinstance(results, Tensor):
            return OnDevice(results.detach())
        return tuple(OnDevice(item.detach()) for item in results)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.counts.launches[f"{ctx.name}_backward"] += 1
        wanted = [item for item in ctx.raws if item.requires_grad]
        results = [ctx.results] if isinstance(ctx.results, Tensor) else [*ctx.results]
        with torch.enable_grad():
            found = iter(torch.autograd.grad(results, wanted, [*map(_raw, gradients)], allow_unused=True))
        each = (next(found) if item.requires_grad else None for item in ctx.raws)
        return None, None, None, *(None if item is None else OnDevice(item) for item in each)


def _whole(counts: Counts, name: str, func: Any, args: Any, kwargs: Any) -> Any:
    leaves, tree = tree_flatten((args, kwargs))
    places = [number for number, item in enumerate(leaves) if isinstance(item, OnDevice)]

    def call(raws: list[Tensor]) -> Any:
        own = [*leaves]
        for place, item in zip(places, raws, strict=True):
            own[place] = item
        own_args, own_kwargs = tree_unflatten(own, tree)
        with _disable_current_modes():
            return func(*own_args, **own_kwargs)

    return _Whole.apply(counts, name, call, *(leaves[place] for place in places))


@contextmanager
def pretended_gpu() -> Iterator[Counts]:
    """Inside of this block there is a GPU, `CUDA`; what is asked of it is counted."""
    counts = Counts()
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    # Modules keep their parameters, so that those that are tied stay tied.
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with ExitStack() as stack:
            for name, value in _PRETENDED.items():
                stack.enter_context(mock.patch(name, value))
            stack.enter_context(_Dispatched(counts))
            stack.enter_context(_Called(counts))
            yield counts
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapped)
