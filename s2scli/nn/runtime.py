"""The device and the process that a model runs in."""

from __future__ import annotations

import ctypes
import platform

import torch

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
    """The context that a forward pass in training runs in: matrix products in bf16, or everything in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed buffers: by default it unmaps them and faults them in again at each step."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)
