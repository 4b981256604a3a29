"""Optimizers and learning-rate schedules, by the `name` of their config."""

from s2scli.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adam": "s2scli.optim.optimizers:adam",
        "adamw": "s2scli.optim.optimizers:adamw",
        "rmsprop": "s2scli.optim.optimizers:rmsprop",
        "sgd": "s2scli.optim.optimizers:sgd",
    },
)

SCHEDULES = Registry(
    "learning-rate schedule",
    {
        "fixed": "s2scli.optim.schedules:Schedule",
        "inverse_sqrt": "s2scli.optim.schedules:InverseSqrt",
        "reduce_on_plateau": "s2scli.optim.schedules:ReduceOnPlateau",
    },
)
