"""What is fast and is not the formula: each kernel is a function that gives what its formula gives, sooner.

A kernel's docstring has the formula and where it is from, and its file the plain formula beside the fast way. With the
environment variable S2S_KERNELS=off the plain formulas are used in place of all kernels, which shows what those are
worth and whether a fault is theirs; the results are the same but for rounding, and for the numbers that dropout draws.
"""

from s2scli.nn.kernels.cells import gru_cell, lstm_cell
from s2scli.nn.kernels.chunked import chunk_rows, chunked_sum, projection
from s2scli.nn.kernels.copied import copy_log_likelihoods, copy_mixture
from s2scli.nn.kernels.distances import by_position
from s2scli.nn.kernels.gated_sums import gated_sums
from s2scli.nn.kernels.gradients import scale_gradient
from s2scli.nn.kernels.products import Loop, Multiply, QuantizedWeight, linear, product_dtype
from s2scli.nn.kernels.quantized import FloatWeight, Int8Weight
from s2scli.nn.kernels.random_masks import dropout
from s2scli.nn.kernels.root_mean_square import rms_norm, rms_norm_in_steps
from s2scli.nn.kernels.scores import additive_scores
from s2scli.nn.kernels.smoothed_loss import label_smoothed_loss
from s2scli.nn.kernels.switch import enabled, switched

__all__ = [
    "FloatWeight",
    "Int8Weight",
    "Loop",
    "Multiply",
    "QuantizedWeight",
    "additive_scores",
    "by_position",
    "chunk_rows",
    "chunked_sum",
    "copy_log_likelihoods",
    "copy_mixture",
    "dropout",
    "enabled",
    "gated_sums",
    "gru_cell",
    "label_smoothed_loss",
    "linear",
    "lstm_cell",
    "product_dtype",
    "projection",
    "rms_norm",
    "rms_norm_in_steps",
    "scale_gradient",
    "switched",
]
