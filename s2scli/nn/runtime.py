"""The device and the process that a model runs in."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Sequence

import torch
from torch import nn

from s2scli.errors import UsageError

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_KERNELS_A_LAYER = 32


def prepare(device: str, threads: int) -> torch.device:
    """Set the process up for a device and return it: 'auto' takes CUDA where it is, else the CPU.

    Raises UsageError for a device that torch does not know or this machine does not have.
    """
    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        # Of a backend that torch was built without it says a page.
        reason = str(error).splitlines()[0].split(". ")[0]
        reason = "this torch has no such backend" if reason.startswith("Could not run") else reason
        raise UsageError(
            f"--device {device} cannot be used here ({reason}); allowed: auto, cpu, cuda, cuda:N, mps"
        ) from None
    if chosen.type == "cpu":
        keep_freed_memory()
    return chosen


def resolve_precision(precision: str, device: torch.device) -> str:
    """What 'auto' means on a device: bf16 where its hardware multiplies bf16 matrices faster, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        # Older chips emulate bf16 (Ampere, compute capability 8, is the first that has it).
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    if device.type == "cpu":
        return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "fp32"
    return "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context that a forward pass in training runs in: matrix products in bf16 or fp16, or everything in fp32."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def be_deterministic() -> None:
    """Choose kernels that give the same bits each time; those that have no such form raise an error."""
    # What cuBLAS wants set before its first use, by its documentation.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def compile_blocks(blocks: Sequence[nn.Module]) -> None:
    """Compile layers with torch.compile, one kernel for all lengths; alike layers share the work.

    Raises UsageError where there is nothing to compile, or no compiler that torch could use.
    """
    if not blocks:
        raise UsageError(
            "--compile: this model has no layers to compile, as a recurrent one has none; leave it out"
        )
    # Slow to import.
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor
    from torch.fx.experimental import _config as shapes

    if next(blocks[0].parameters()).device.type == "cpu":
        inductor.cpp.cxx = (None, _find_compiler())
    # Random numbers as without compiling, from the generator that is seeded for each batch.
    inductor.fallback_random = True
    # Lengths that happen to be alike, of a batch and of a sentence, are no rule to compile for. Training, validation
    # and translation each have kernels of their own, and so has a batch of one sentence.
    shapes.use_duck_shape = False
    dynamo.recompile_limit = max(dynamo.recompile_limit, _KERNELS_A_LAYER)
    for block in blocks:
        for module in block.modules():
            if getattr(module, "has_loop", False):
                # A loop over positions would be compiled anew for each length.
                module.forward = torch.compiler.disable(module.forward)
        block.compile(dynamic=True)


def _find_compiler() -> str:
    """A C++ compiler: what CXX names, or else one that is usually there."""
    named = os.environ.get("CXX")
    for name in [named] if named else ["g++", "clang++", "c++"]:
        if shutil.which(name):
            return name
    problem = f"CXX={named} is not" if named else "none is"
    raise UsageError(
        f"--compile needs a C++ compiler here, and {problem} on the PATH; install g++, or leave it out"
    )


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed buffers: by default it unmaps them and faults them in again at each step."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)


def give_back_freed_memory(device: torch.device) -> None:
    """After a shortage: give back what was kept of freed memory, which may be of no use as it is cut up.

    On a CPU nothing is kept from there on but in the holes that the heap has: what does not come from malloc, such as
    compiled kernels, needs room too.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 65536)
        # glibc may have raised it since, up to 32 MB.
        libc.mallopt(_M_MMAP_THRESHOLD, 128 << 10)
        libc.mallopt(_M_TRIM_THRESHOLD, 128 << 10)
        libc.mallopt(_M_TOP_PAD, 0)
        libc.malloc_trim(0)
