"""Training objectives, by the `name` of their config."""

from s2scli.registry import Registry

OBJECTIVES = Registry(
    "objective",
    {
        "label_smoothed_cross_entropy": "s2scli.training.objectives.cross_entropy:LabelSmoothedCrossEntropy",
        "r_drop": "s2scli.training.objectives.r_drop:RDrop",
        "minimum_risk": "s2scli.training.objectives.minimum_risk:MinimumRisk",
        "distillation": "s2scli.training.objectives.distillation:Distillation",
    },
)
