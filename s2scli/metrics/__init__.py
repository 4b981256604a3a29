"""The metrics: name → class. To add one: a file with a subclass of base.Metric, a line here and in configs/score.py."""

from s2scli.registry import Registry

METRICS = Registry(
    "metric",
    {
        "bleu": "s2scli.metrics.bleu:Bleu",
        "chrf": "s2scli.metrics.chrf:Chrf",
        "chrf++": "s2scli.metrics.chrf:ChrfPlusPlus",
        "ter": "s2scli.metrics.ter:Ter",
        "rouge1": "s2scli.metrics.rouge:Rouge1",
        "rouge2": "s2scli.metrics.rouge:Rouge2",
        "rougel": "s2scli.metrics.rouge:RougeL",
        "rougelsum": "s2scli.metrics.rouge:RougeLsum",
        "exact_match": "s2scli.metrics.squad:ExactMatch",
        "f1": "s2scli.metrics.squad:TokenF1",
        "wer": "s2scli.metrics.error_rate:Wer",
        "cer": "s2scli.metrics.error_rate:Cer",
        "per": "s2scli.metrics.error_rate:Per",
        "ser": "s2scli.metrics.error_rate:Ser",
        "accuracy": "s2scli.metrics.accuracy:Accuracy",
        "span_f1": "s2scli.metrics.span_f1:SpanF1",
        "distinct1": "s2scli.metrics.diversity:Distinct1",
        "distinct2": "s2scli.metrics.diversity:Distinct2",
        "entropy": "s2scli.metrics.diversity:Entropy4",
        "self_bleu": "s2scli.metrics.self_bleu:SelfBleu",
        "length": "s2scli.metrics.length:Length",
        "length_ratio": "s2scli.metrics.length:LengthRatio",
        "repetition": "s2scli.metrics.repetition:Repetition",
        "copy_rate": "s2scli.metrics.copy_rate:CopyRate",
    },
)
# Metrics of what a checkpoint finds the outputs to be worth; they are made with its forced scoring.
MODEL_METRICS = Registry(
    "metric",
    {
        "ppl": "s2scli.metrics.perplexity:Perplexity",
        "bpc": "s2scli.metrics.perplexity:BitsPerCharacter",
    },
)
