"""fairseq's flags: github.com/facebookresearch/fairseq, docs/command_line_tools and the examples."""

from __future__ import annotations

from s2scli.cli.toolkits.table import Toolkit

_WHOLE_TEXT = "output is whole text, with pieces of words joined as --pieces says"
_CHECKPOINT_KNOWS = "the checkpoint knows"
_DATASET_KNOWS = "the dataset folder knows"
_LINE_BY_LINE = "a language model reads text line by line"
_PLAIN_TEXT = "scores are of plain text"
_SCALE = "the scale of fp16 adapts itself"
_TORCHRUN = "torchrun --nproc-per-node N -m s2scli train"
_TAGS = "--source-tag, a symbol for the language before each source"
_LSTM = "--arch rnn_luong"
_SHORTER = "--max-source-length N --on-long truncate"
_METRICS = "--metrics bleu, which is sacreBLEU's"

FAIRSEQ = Toolkit(
    name="fairseq",
    same={
        "--learning-rate": "--lr",
        "--max-sentences": "--batch-size",
        "--relu-dropout": "--activation-dropout",
        "--sampling-topk": "--top-k",
        "--sampling-topp": "--top-p",
        "--sampling-temperature": "--temperature",
        "--ignore-case": "--lowercase",
    },
    instead={
        "--fp16": "--precision fp16",
        "--memory-efficient-fp16": "--precision fp16",
        "--bf16": "--precision bf16",
        "--memory-efficient-bf16": "--precision bf16",
        "--amp": "--precision auto",
        "--cpu": "--device cpu",
        "--device-id": "--device cuda:N",
        "--eval-bleu": "--eval-metrics bleu",
        "--eval-bleu-args": "--eval-beam N",
        "--eval-bleu-print-samples": "--eval-samples N",
        "--validate-interval": "--validate-interval-updates N",
        "--save-interval": "--save-interval-updates N",
        "--no-epoch-checkpoints": "--keep-last-epochs 0",
        "--ddp-backend": "--distributed ddp, or fsdp, under torchrun",
        "--distributed-world-size": _TORCHRUN,
        "--distributed-num-procs": _TORCHRUN,
        "--distributed-port": _TORCHRUN,
        "--distributed-init-method": _TORCHRUN,
        "--tensorboard-logdir": "--tensorboard",
        "--store-ema": "--ema-decay",
        "--log-format": "--format jsonl",
        "train --log-format": "log.jsonl in --save-dir",
        "--log-file": "log.jsonl in --save-dir",
        "--encoder-learned-pos": "--positions learned, for both sides",
        "--decoder-learned-pos": "--positions learned, for both sides",
        "--upsample-primary": "--corpus-weights NAME=N, NAME being of --trainpref NAME=P of s2s preprocess",
        "--force-anneal": "--lr-scheduler reduce_on_plateau, or step with --start-decay-at",
        "--bpe": "--tokenizer",
        "--bpe-codes": "--tokenizer",
        "--tokenizer-model": "--tokenizer",
        "--scoring": _METRICS,
        "--sacrebleu": _METRICS,
        "--sentence-bleu": "--segments FILE",
        "--results-path": "--output FILE",
        "--buffer-lines": "--buffer-size",
        "--prefix-size": "--target-prefix TEXT, with which every output begins",
        "--match-source-len": "--max-len-a 1 --max-len-b N",
        "--skip-invalid-size-inputs-valid-test": _SHORTER,
        "generate --skip-invalid-size-inputs-valid-test": "--on-long truncate or split",
        "generate --max-source-positions": "--on-long truncate or split",
        "generate --max-target-positions": "--max-len-b N",
        "--truncate-source": "--max-source-length N",
        "--only-source": "--only-target",
        "--dict": "--srcdict and --tgtdict",
        "--lang-pairs": _TAGS,
        "--encoder-langtok": _TAGS,
        "--decoder-langtok": _TAGS,
        "--share-decoders": _TAGS,
        "--share-encoders": _TAGS,
    },
    needless={
        "--remove-bpe": _WHOLE_TEXT,
        "--post-process": _WHOLE_TEXT,
        "--eval-bleu-remove-bpe": _WHOLE_TEXT,
        "--eval-bleu-detok": _WHOLE_TEXT,
        "--eval-bleu-detok-args": _WHOLE_TEXT,
        "--eval-tokenized-bleu": _WHOLE_TEXT,
        "--task": "the dataset folder and --arch say it",
        "generate --task": _CHECKPOINT_KNOWS,
        "chat --task": _CHECKPOINT_KNOWS,
        "preprocess --task": "s2s train --arch says it",
        "--sample-break-mode": _LINE_BY_LINE,
        "--tokens-per-sample": _LINE_BY_LINE,
        "--source-lang": _DATASET_KNOWS,
        "--target-lang": _DATASET_KNOWS,
        **{
            f"{command} --{side}-lang": _CHECKPOINT_KNOWS
            for command in ("generate", "chat")
            for side in ("source", "target")
        },
        **{
            f"{command} --{name}": _CHECKPOINT_KNOWS
            for command in ("generate", "chat")
            for name in ("bpe", "bpe-codes", "sentencepiece-model", "tokenizer", "tokenizer-model")
        },
        **{f"score --{side}-lang": _PLAIN_TEXT for side in ("source", "target")},
        "--no-progress-bar": "a bar is shown on a terminal only",
        "--quiet": "standard output holds the translations alone",
        "train --quiet": "messages go to standard error; 2> FILE keeps them",
        "preprocess --quiet": "messages go to standard error; 2> FILE keeps them",
        "score --quiet": "standard output holds the scores alone",
        "--maximize-best-checkpoint-metric": "each metric knows which way is better",
        "--dataset-impl": _DATASET_KNOWS,
        "preprocess --dataset-impl": "there is one form, which is mapped into memory",
        "--left-pad-source": "padding changes no result",
        "--left-pad-target": "padding changes no result",
        "--padding-factor": "padding changes no result",
        "--required-batch-size-multiple": "sizes of batches above 8 are multiples of 8",
        "generate --num-workers": "batches are read ahead where that helps",
        "--update-epoch-batch-itr": "every epoch is shuffled anew",
        "--source-position-markers": "--copy tells unknown words of the source apart by itself",
        "--sentence-avg": "the loss is a mean over tokens",
        "--no-beamable-mm": "the memory of a source is never repeated for its beam",
        "--model-overrides": _CHECKPOINT_KNOWS,
        "--fp16-init-scale": _SCALE,
        "--fp16-scale-window": _SCALE,
        "--fp16-scale-tolerance": _SCALE,
        "--min-loss-scale": _SCALE,
        "--threshold-loss-scale": _SCALE,
        "--distributed-no-spawn": "torchrun starts the processes",
        "--find-unused-parameters": "there are none",
    },
    values={
        "--arch": {
            "transformer_wmt_en_de": "--arch transformer",
            "transformer_vaswani_wmt_en_de_big": "--arch transformer_big",
            "transformer_wmt_en_de_big": "--arch transformer_big --attention-dropout 0.1",
            "transformer_vaswani_wmt_en_fr_big": "--arch transformer_big --dropout 0.1",
            "transformer_wmt_en_de_big_t2t": "--arch transformer_big --encoder-normalize-before "
            "--decoder-normalize-before --attention-dropout 0.1 --activation-dropout 0.1",
            "transformer_pointer_generator": "--arch transformer --copy",
            "transformer_lm_big": "--arch transformer_lm, with --decoder-embed-dim and the like",
            "transformer_lm_gpt": "--arch transformer_lm --positions learned --activation-fn gelu",
            "transformer_align": "--arch transformer",
            "multilingual_transformer_iwslt_de_en": "--arch transformer_iwslt_de_en",
            "lstm": _LSTM,
            "lstm_wiseman_iwslt_de_en": _LSTM,
            "lstm_luong_wmt_en_de": _LSTM,
        },
        "--criterion": {
            "cross_entropy": "--criterion label_smoothed_cross_entropy --label-smoothing 0",
        },
        "--optimizer": {"nag": "--optimizer sgd --nesterov --momentum 0.99"},
        "--lr-scheduler": {"reduce_lr_on_plateau": "--lr-scheduler reduce_on_plateau"},
        "--tokenizer": {"space": "--tokenizer word", "nltk": "--tokenizer moses"},
    },
)
