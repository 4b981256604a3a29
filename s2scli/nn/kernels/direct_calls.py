"""Modules that are called as fast as functions, for steps of decoding that take no longer than a few such calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from torch import nn

from s2scli.nn.kernels.switch import enabled

Module = TypeVar("Module", bound=nn.Module)


def direct(module: Module) -> Module:
    """The same module, whose attributes are found and whose calls are made without torch's machinery around them.

    torch looks for hooks at every call of a module, and finds its parameters and submodules only after a search in
    three dictionaries. Here they are attributes like others, and calling the module is its class's `forward`: hooks do
    not run, and neither does what `compile` has made. A submodule without submodules is there as a function alone. A
    class with a method `direct_call` says itself what calling it comes to, or None where that is its `forward`.

    Parameters are shared with the module; whether it is in training, and what it has in place of a weight, is as it was
    when this was called. It must not be changed. Without kernels it is the module itself.
    """
    return _twin(module) if enabled() else module


def _twin(module: Module) -> Module:
    twin: Module = object.__new__(_twin_class(type(module)))  # type: ignore[arg-type]
    attributes = twin.__dict__
    # The dictionaries that hold parameters and submodules are among the attributes.
    attributes.update(module.__dict__, **module._parameters, **module._buffers)
    for name, child in module._modules.items():
        attributes[name] = None if child is None else _callable(child)
    return twin


def _callable(module: nn.Module) -> Callable[..., Any]:
    direct_call = getattr(type(module), "direct_call", None)
    function: Callable[..., Any] | None = None if direct_call is None else direct_call(module)
    if function is not None:
        return function
    twin = _twin(module)
    return twin if module._modules else twin.forward  # a bound method is called sooner than an object


@cache
def _twin_class(kind: type[nn.Module]) -> type[Any]:
    metaclass: Any = type(kind)
    made: type[Any] = metaclass(f"Direct{kind.__name__}", (kind,), {"__call__": kind.forward})
    return made
