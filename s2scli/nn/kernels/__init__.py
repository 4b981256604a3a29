"""What is fast and is not the formula: each kernel is a function that gives what its formula gives, sooner.

A kernel's file has the plain formula beside it. With the environment variable S2S_KERNELS=off the plain formulas are
used in place of all kernels, which shows what they are worth and where a fault comes from.
"""

from s2scli.nn.kernels.switch import enabled, switched

__all__ = ["enabled", "switched"]
