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
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


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
        reason = str(error).splitlines()[0]
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
        raise UsageError("--compile: this model has no layers that are run as one; leave it out")
    if blocks[0].parameters().__next__().device.type == "cpu" and not any(
        shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")
    ):
        raise UsageError(
            "--compile needs a C++ compiler here, and none is on the PATH; install g++, or leave it out"
        )
    # Random numbers as without compiling, from the generator that is seeded for each batch.
    from torch._inductor import config as inductor  # slow to import

    inductor.fallback_random = True
    for block in blocks:
        block.compile(dynamic=True)


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed buffers: by default it unmaps them and faults them in again at each step."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)
