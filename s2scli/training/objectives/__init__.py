"""Training objectives, by the `name` of their config."""

from s2scli.registry import Registry

OBJECTIVES = Registry(
    "objective",
    {"label_smoothed_cross_entropy": "s2scli.training.objectives.cross_entropy:LabelSmoothedCrossEntropy"},
)
