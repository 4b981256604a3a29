"""Optimizers and learning-rate schedules, by the `name` of their config."""

from s2scli.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adam": "s2scli.optim.optimizers:adam",
        "adamw": "s2scli.optim.optimizers:adamw",
        "rmsprop": "s2scli.optim.optimizers:rmsprop",
        "sgd": "s2scli.optim.optimizers:sgd",
        "adagrad": "s2scli.optim.optimizers:adagrad",
        "adadelta": "s2scli.optim.optimizers:adadelta",
        "adafactor": "s2scli.optim.optimizers:adafactor",
        "lion": "s2scli.optim.optimizers:lion",
    },
)

SCHEDULES = Registry(
    "learning-rate schedule",
    {
        "fixed": "s2scli.optim.schedules:Schedule",
        "inverse_sqrt": "s2scli.optim.schedules:InverseSqrt",
        "reduce_on_plateau": "s2scli.optim.schedules:ReduceOnPlateau",
        "step": "s2scli.optim.decays:Step",
        "exponential": "s2scli.optim.decays:Exponential",
        "linear": "s2scli.optim.decays:Linear",
        "polynomial_decay": "s2scli.optim.decays:PolynomialDecay",
        "cosine": "s2scli.optim.decays:Cosine",
        "tri_stage": "s2scli.optim.decays:TriStage",
    },
)
