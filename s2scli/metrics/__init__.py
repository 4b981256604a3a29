"""The metrics: name → class. To add one: a file with a subclass of base.Metric, and a line here."""

from s2scli.registry import Registry

METRICS = Registry(
    "metric",
    {
        "bleu": "s2scli.metrics.bleu:Bleu",
        "chrf": "s2scli.metrics.chrf:Chrf",
        "chrf++": "s2scli.metrics.chrf:ChrfPlusPlus",
        "ter": "s2scli.metrics.ter:Ter",
    },
)
