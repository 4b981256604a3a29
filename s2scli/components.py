"""Every component that can be chosen by name: one row each, its name and what it is, as "module:attribute".

A row of a model, an attention score, an optimizer, a schedule, an objective, a search or an attribution method names
its config, a dataclass without torch that says its settings and what builds it (see configs/component.py). A metric and
a tokenizer have no settings of their own, and their classes need no torch: their rows name the class.

A module that --user-dir names adds rows of its own: `MODELS.add("toy", "my_module:ToyConfig")`.
"""

from __future__ import annotations

from s2scli.registry import Registry

MODELS = Registry(
    "model",
    {
        "recurrent": "s2scli.configs.recurrent:RecurrentConfig",
        "transformer": "s2scli.configs.transformer:TransformerConfig",
        "convolutional": "s2scli.configs.convolutional:ConvolutionalConfig",
        "transformer_lm": "s2scli.configs.transformer:TransformerLMConfig",
    },
)

# For recurrent models only.
ATTENTION_SCORES = Registry(
    "attention score",
    {
        "additive": "s2scli.configs.attention:AdditiveScoreConfig",
        "dot": "s2scli.configs.attention:DotScoreConfig",
        "scaled-dot": "s2scli.configs.attention:ScaledDotScoreConfig",
        "general": "s2scli.configs.attention:GeneralScoreConfig",
        "concat": "s2scli.configs.attention:ConcatScoreConfig",
        "location": "s2scli.configs.attention:LocationScoreConfig",
        "source-only": "s2scli.configs.attention:SourceOnlyScoreConfig",
    },
)

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adam": "s2scli.configs.optimizers:AdamConfig",
        "adamw": "s2scli.configs.optimizers:AdamWConfig",
        "rmsprop": "s2scli.configs.optimizers:RMSpropConfig",
        "sgd": "s2scli.configs.optimizers:SGDConfig",
        "adagrad": "s2scli.configs.optimizers:AdagradConfig",
        "adadelta": "s2scli.configs.optimizers:AdadeltaConfig",
        "adafactor": "s2scli.configs.optimizers:AdafactorConfig",
        "lion": "s2scli.configs.optimizers:LionConfig",
        "muon": "s2scli.configs.optimizers:MuonConfig",
    },
)

SCHEDULES = Registry(
    "learning-rate schedule",
    {
        "fixed": "s2scli.configs.schedules:FixedConfig",
        "inverse_sqrt": "s2scli.configs.schedules:InverseSqrtConfig",
        "reduce_on_plateau": "s2scli.configs.schedules:ReduceOnPlateauConfig",
        "step": "s2scli.configs.schedules:StepConfig",
        "exponential": "s2scli.configs.schedules:ExponentialConfig",
        "linear": "s2scli.configs.schedules:LinearConfig",
        "polynomial_decay": "s2scli.configs.schedules:PolynomialDecayConfig",
        "cosine": "s2scli.configs.schedules:CosineConfig",
        "tri_stage": "s2scli.configs.schedules:TriStageConfig",
    },
)

# What is trained beside a model whose own parameters stay as they are.
ADAPTERS = Registry(
    "adapter",
    {
        "none": "s2scli.configs.adapters:NoAdapterConfig",
        "lora": "s2scli.configs.adapters:LowRankConfig",
        "bottleneck": "s2scli.configs.adapters:BottleneckConfig",
    },
)

OBJECTIVES = Registry(
    "objective",
    {
        "label_smoothed_cross_entropy": "s2scli.configs.objectives:LabelSmoothedCrossEntropyConfig",
        "r_drop": "s2scli.configs.objectives:RDropConfig",
        "distillation": "s2scli.configs.objectives:DistillationConfig",
        "minimum_risk": "s2scli.configs.objectives:MinimumRiskConfig",
    },
)

# What training makes of text of one language; rows name a `NoiseConfig`.
NOISES = Registry(
    "noise",
    {
        "none": "s2scli.configs.noise:NoNoiseConfig",
        "bart": "s2scli.configs.noise:BartNoiseConfig",
        "t5": "s2scli.configs.noise:T5NoiseConfig",
        "mass": "s2scli.configs.noise:MassNoiseConfig",
    },
)

# Without --search, the first of these whose `is_called_for` is true is used. Sentences with constraints are always
# searched with "constrained_beam" (search/decoding.py).
SEARCHES = Registry(
    "search",
    {
        "sampling": "s2scli.configs.searches:SamplingSearchConfig",
        "diverse_beam": "s2scli.configs.searches:DiverseBeamSearchConfig",
        "greedy": "s2scli.configs.searches:GreedySearchConfig",
        "beam": "s2scli.configs.searches:BeamSearchConfig",
        "constrained_beam": "s2scli.configs.searches:ConstrainedBeamSearchConfig",
    },
)

# How `s2s explain` tells what output tokens come from.
ATTRIBUTIONS = Registry(
    "method",
    {
        "attention": "s2scli.configs.attribution:AttentionAttributionConfig",
        "gradient_norm": "s2scli.configs.attribution:GradientNormConfig",
        "input_x_gradient": "s2scli.configs.attribution:InputXGradientConfig",
        "integrated_gradients": "s2scli.configs.attribution:IntegratedGradientsConfig",
        "erasure": "s2scli.configs.attribution:ErasureConfig",
    },
)

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

# Metrics computed from the log-probabilities that a checkpoint gives the outputs; their constructors take `forced`,
# the function that computes these.
MODEL_METRICS = Registry(
    "metric",
    {
        "ppl": "s2scli.metrics.perplexity:Perplexity",
        "bpc": "s2scli.metrics.perplexity:BitsPerCharacter",
    },
)

TOKENIZERS = Registry(
    "tokenizer",
    {
        "sentencepiece": "s2scli.text.subword:SentencePieceTokenizer",
        "word": "s2scli.text.word:WordTokenizer",
        "moses": "s2scli.text.moses:MosesTokenizer",
        "character": "s2scli.text.character:CharacterTokenizer",
        "given sentencepiece": "s2scli.text.subword:GivenSentencePieceTokenizer",
        "sentencepiece with a language code": "s2scli.text.language_code:LanguageCodeTokenizer",
        "tokenizers": "s2scli.text.library:LibraryTokenizer",
    },
)
# Tokenizers that --tokenizer does not offer: --source-sentencepiece and --target-sentencepiece choose them, with the
# user's own SentencePiece model, or s2s import.
GIVEN_MODEL_TOKENIZERS = ("given sentencepiece", "sentencepiece with a language code", "tokenizers")

# Formats of recordings, and of matrices of features: rows name a class of features/recording.py's `Recording`, and of
# features/matrix.py's `MatrixFormat`. What a file begins with tells which it is; the first that recognizes it is taken.
SOUND_FORMATS = Registry(
    "sound format",
    {
        "wav": "s2scli.features.wave:WaveRecording",
        "soundfile": "s2scli.features.library_sound:LibraryRecording",
    },
)
MATRIX_FORMATS = Registry(
    "format of features",
    {
        "npy": "s2scli.features.arrays:NumPyArray",
        "npz": "s2scli.features.arrays:NumPyArchive",
        "ark": "s2scli.features.kaldi:KaldiMatrix",
        "safetensors": "s2scli.features.arrays:Safetensors",
    },
)

# What `--source-type` may be beside text: what makes frames of the files that a manifest refers to. Rows name a class
# of features/extraction.py's `FrameReader`.
FRAME_READERS = Registry(
    "source type",
    {
        "audio": "s2scli.features.extraction:AudioFrames",
        "features": "s2scli.features.extraction:GivenFrames",
        "image": "s2scli.features.pictures:PictureFrames",
    },
)

# Models of other toolkits that `s2s import` reads: rows name a class of foreign.base.ForeignFamily. Those of
# transformers are called as `model_type` of a folder's config.json calls them.
FOREIGN_FAMILIES = Registry(
    "kind of model",
    {
        "fairseq_transformer": "s2scli.foreign.fairseq_transformer:FairseqTransformer",
        "fairseq_convolutional": "s2scli.foreign.fairseq_convolutional:FairseqConvolutional",
        "fairseq_recurrent": "s2scli.foreign.fairseq_recurrent:FairseqRecurrent",
        "marian": "s2scli.foreign.marian_folder:MarianFolder",
        "marian_nmt": "s2scli.foreign.marian:Marian",
        "t5": "s2scli.foreign.t5:T5",
        "mt5": "s2scli.foreign.t5:MT5",
        "bart": "s2scli.foreign.bart:Bart",
        "mbart": "s2scli.foreign.mbart:MBart",
        "m2m_100": "s2scli.foreign.m2m_100:M2M100",
        "pegasus": "s2scli.foreign.pegasus:Pegasus",
        "gpt2": "s2scli.foreign.gpt2:GPT2",
        "bert": "s2scli.foreign.bert:Bert",
        "g2p_en": "s2scli.foreign.g2p_en:G2pEn",
    },
)

# What runs models that `s2s export` has written, by the engine that s2s.json names: a function that makes an
# `OpenedModel` (inference/opened.py) of that file's path, what it says, and the tokenizers. torch runs checkpoints.
ENGINES = Registry("engine", {"ctranslate2": "s2scli.inference.ctranslate2_model:open_exported"})

# The toolkits that `s2s export --to` writes for; a row is a class of exporting/target.py's `ExportTarget`.
EXPORT_TARGETS = Registry(
    "toolkit",
    {
        "ctranslate2": "s2scli.exporting.ctranslate2:CTranslate2",
        "transformers": "s2scli.exporting.transformers:Transformers",
        "onnx": "s2scli.exporting.onnx:Onnx",
        "fairseq": "s2scli.exporting.fairseq:Fairseq",
        "peft": "s2scli.exporting.peft:Peft",
    },
)

# What `s2s sweep` draws settings by, and how far it trains a trial: rows name a class of sweeping/samplers.py's
# `Sampler`, and of sweeping/schedulers.py's `TrialScheduler`.
SAMPLERS = Registry(
    "sampler",
    {
        "random": "s2scli.sweeping.samplers:RandomSampler",
        "grid": "s2scli.sweeping.samplers:GridSampler",
        "tpe": "s2scli.sweeping.tpe:TpeSampler",
    },
)
TRIAL_SCHEDULERS = Registry(
    "scheduler",
    {
        "none": "s2scli.sweeping.schedulers:ToTheEnd",
        "asha": "s2scli.sweeping.schedulers:Asha",
        "hyperband": "s2scli.sweeping.schedulers:Hyperband",
    },
)
