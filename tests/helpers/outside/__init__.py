"""A component of each kind from outside the package: one row each."""

from s2scli.components import (
    ATTENTION_SCORES,
    METRICS,
    MODELS,
    NOISES,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    SEARCHES,
    TOKENIZERS,
)

MODELS.add("bag_of_words", "outside.configs:BagOfWordsConfig")
ATTENTION_SCORES.add("distance", "outside.configs:DistanceScoreConfig")
OPTIMIZERS.add("sign_sgd", "outside.configs:SignSGDConfig")
SCHEDULES.add("sawtooth", "outside.configs:SawtoothConfig")
OBJECTIVES.add("likelihood", "outside.configs:LikelihoodConfig")
NOISES.add("backwards", "outside.configs:BackwardsConfig")
SEARCHES.add("one_word", "outside.configs:OneWordSearchConfig")
METRICS.add("vowels", "outside.text:Vowels")
TOKENIZERS.add("hyphens", "outside.text:HyphenTokenizer")
