"""Flags of other toolkits: taken where they mean the same, else a user is told what to give in their place."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import pytest

from s2scli.cli import app
from s2scli.cli.commands import COMMANDS, commands_with
from s2scli.cli.known_flags import KnownFlags
from s2scli.cli.options import flags_of
from s2scli.cli.toolkits import TOOLKITS
from s2scli.cli.toolkits.table import Toolkit
from s2scli.registry import Registry

CONFIGS = Registry("command", {name: command.config for name, command in COMMANDS.items()})
# Which commands have a flag is worked out once for each.
elsewhere = functools.cache(commands_with)
VOCABULARIES = {name: KnownFlags(name, flags_of(CONFIGS[name]), elsewhere) for name in COMMANDS}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
# Other programs' own, which hints name.
OTHERS = {"--nproc-per-node"}


# What is taken as it is of fairseq's line for XSum.
XSUM = (
    "--max-tokens 4096 --layernorm-embedding --share-all-embeddings --encoder-normalize-before"
    " --decoder-normalize-before --alignment-layer -2 --alignment-heads 1 --criterion label_smoothed_cross_entropy"
    " --label-smoothing 0.1 --dropout 0.1 --attention-dropout 0.1 --weight-decay 0.01 --optimizer adam"
    " --adam-betas '(0.9, 0.999)' --adam-eps 1e-08 --clip-norm 0.1 --lr-scheduler inverse_sqrt --lr 0.001"
    " --max-update 20000 --warmup-updates 500 --update-freq 4"
)


def problems(capsys: pytest.CaptureFixture[str], line: str) -> dict[str, str]:
    """What is not taken of a command line, with what is said about it."""
    assert app.run(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(len(row) <= 80 for row in err.splitlines()[1:])
    if "no such option: " in err:
        name, _, hint = err.partition("no such option: ")[2].strip().partition("; ")
        return {name: hint}
    head, *rows = re.sub(r"\n {6}", " ", err).splitlines()
    found = dict(row.strip().split(": ", 1) for row in rows)
    assert head.endswith(f"{len(found)} options are not known here:")
    return found


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            # fairseq, examples/translation/README.md: IWSLT'14
            "train data --arch transformer_iwslt_de_en --share-decoder-input-output-embed --optimizer adam"
            " --adam-betas '(0.9, 0.98)' --clip-norm 0.0 --lr 5e-4 --lr-scheduler inverse_sqrt --warmup-updates 4000"
            " --dropout 0.3 --weight-decay 0.0001 --criterion label_smoothed_cross_entropy --label-smoothing 0.1"
            " --max-tokens 4096 --eval-bleu --eval-bleu-args '{\"beam\": 5}' --eval-bleu-detok moses"
            " --eval-bleu-remove-bpe --eval-bleu-print-samples --best-checkpoint-metric bleu"
            " --maximize-best-checkpoint-metric",
            "--eval-bleu --eval-bleu-args --eval-bleu-detok --eval-bleu-remove-bpe --eval-bleu-print-samples"
            " --maximize-best-checkpoint-metric",
        ),
        (
            # fairseq, examples/scaling_nmt/README.md
            "train data --arch transformer_vaswani_wmt_en_de_big --share-all-embeddings --optimizer adam"
            " --adam-betas '(0.9, 0.98)' --clip-norm 0.0 --lr-scheduler inverse_sqrt --warmup-init-lr 1e-07"
            " --warmup-updates 4000 --lr 0.0005 --dropout 0.3 --weight-decay 0.0"
            " --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --max-tokens 3584 --fp16",
            "'--arch transformer_vaswani_wmt_en_de_big' --fp16",
        ),
        (
            # fairseq, examples/pointer_generator/README.xsum.md
            f"train data --user-dir src --task translation --source-lang src --target-lang tgt --truncate-source {XSUM}"
            " --required-batch-size-multiple 1 --arch transformer_pointer_generator --source-position-markers 1000"
            " --skip-invalid-size-inputs-valid-test",
            "--task --source-lang --target-lang --truncate-source --required-batch-size-multiple"
            " '--arch transformer_pointer_generator' --source-position-markers --skip-invalid-size-inputs-valid-test",
        ),
        (
            # fairseq, examples/translation/README.md
            "generate data --path run --batch-size 128 --beam 5 --remove-bpe --source-lang de --target-lang en"
            " --sampling-topk 10",
            "--remove-bpe --source-lang --target-lang",
        ),
        (
            # OpenNMT-py, the Transformer of its frequently asked questions
            "train -data data -save_model run -layers 6 -rnn_size 512 -word_vec_size 512 -transformer_ff 2048 -heads 8"
            " -encoder_type transformer -decoder_type transformer -position_encoding -train_steps 200000"
            " -max_generator_batches 2 -dropout 0.1 -batch_size 4096 -batch_type tokens -normalization tokens"
            " -accum_count 2 -optim adam -adam_beta2 0.998 -decay_method noam -warmup_steps 8000 -learning_rate 2"
            " -max_grad_norm 0 -param_init 0 -param_init_glorot -label_smoothing 0.1 -valid_steps 10000"
            " -save_checkpoint_steps 10000 -world_size 4",
            "-data -save_model -layers -rnn_size -word_vec_size -transformer_ff -heads -encoder_type -decoder_type"
            " -position_encoding -train_steps -max_generator_batches -dropout -batch_size -batch_type -normalization"
            " -accum_count -optim -adam_beta2 -decay_method -warmup_steps -learning_rate -max_grad_norm -param_init"
            " -param_init_glorot -label_smoothing -valid_steps -save_checkpoint_steps -world_size",
        ),
        (
            "generate -model run -src source.txt -output output.txt -beam_size 5 --min-length 2",
            "-model -src -output -beam_size",
        ),
        (
            # Sockeye, docs/tutorials/wmt_large.md
            "train -d data -vs valid.de -vt valid.en -o run --num-layers 6 --transformer-model-size 512"
            " --transformer-attention-heads 8 --transformer-feed-forward-num-hidden 2048 --weight-tying"
            " --weight-tying-type src_trg_softmax --optimizer adam --batch-size 8192 --checkpoint-interval 4000"
            " --initial-learning-rate 0.0002 --learning-rate-reduce-factor 0.9"
            " --learning-rate-reduce-num-not-improved 8 --max-num-checkpoint-not-improved 60"
            " --decode-and-evaluate 500 --device-ids -4 --seed 1",
            "-d -vs -vt -o --num-layers --transformer-model-size --transformer-attention-heads"
            " --transformer-feed-forward-num-hidden --weight-tying --weight-tying-type --checkpoint-interval"
            " --learning-rate-reduce-num-not-improved --device-ids",
        ),
        ("generate -i source.txt -o output.txt -m run --beam-size 5 --batch-size 64", "-i -o -m"),
        (
            # Marian, the transformer of its examples
            "train --model m.npz --type transformer --train-sets a.en a.de --max-length 100 --vocabs v.en v.de"
            " --mini-batch-fit -w 10000 --maxi-batch 1000 --early-stopping 10 --valid-freq 5000 --save-freq 5000"
            " --disp-freq 500 --valid-metrics ce-mean-words --beam-size 6 --normalize 0.6 --enc-depth 6 --dec-depth 6"
            " --transformer-heads 8 --transformer-dropout 0.1 --label-smoothing 0.1 --learn-rate 0.0003"
            " --lr-warmup 16000 --lr-decay-inv-sqrt 16000 --lr-report --optimizer-params 0.9 0.98 1e-09"
            " --clip-norm 5 --tied-embeddings-all --devices 0 --sync-sgd --seed 1 --exponential-smoothing",
            "--model --type --train-sets --max-length --vocabs --mini-batch-fit -w --maxi-batch --valid-freq"
            " --save-freq --valid-metrics --normalize --transformer-heads --lr-decay-inv-sqrt --lr-report"
            " --optimizer-params --devices --sync-sgd --exponential-smoothing",
        ),
    ],
    ids=lambda text: " ".join(text.split()[:4]),
)
def test_a_documented_command_line_takes_one_round(
    capsys: pytest.CaptureFixture[str], line: str, wanted: str
) -> None:
    """Everything that is not taken is said at once, and of each there is something better to say than --help."""
    found = problems(capsys, line)
    assert sorted(found) == sorted(shlex.split(wanted))
    assert [name for name, hint in found.items() if "--help" in hint] == []


def test_after_that_round_the_line_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With what the hints give in place of what was not taken, nothing is missing but the data."""
    line = f"train {tmp_path / 'none'} {XSUM} --max-source-length 400 --arch transformer --copy"
    assert app.run(shlex.split(line)) == 1
    assert "no such dataset folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("train data --fp16", "fairseq's, here --precision fp16"),
        ("train data --eval_bleu", "fairseq's, here --eval-metrics bleu"),
        ("train data --source-lang en", "fairseq's, to be left out: the dataset folder knows"),
        ("generate --path run --source-lang en", "fairseq's, to be left out: the checkpoint knows"),
        ("score --sacrebleu", "fairseq's, here --metrics bleu, which is sacreBLEU's"),
        ("generate --path run --sacrebleu", "fairseq's, here s2s score --metrics bleu, which is sacreBLEU's"),
        ("train data --arch lstm", "fairseq's, here --arch rnn_luong"),
        ("train data --arch=transformer_wmt_en_de", "fairseq's, here --arch transformer"),
        ("train data --criterion cross_entropy", "fairseq's, here --criterion label_smoothed_cross_entropy"),
        ("train data --optimizer nag", "fairseq's, here --optimizer sgd --nesterov --momentum 0.99"),
        (
            "preprocess --fp16",
            "fairseq's, here --precision fp16 of s2s train, s2s generate, s2s explain and s2s chat",
        ),
        ("train data --optimized-metric bleu", "Sockeye's, here --best-checkpoint-metric"),
        ("generate --path run -src x", "OpenNMT-py's, here --input FILE"),
        ("preprocess -src_vocab_size 9", "OpenNMT-py's, here --vocab-size N"),
        ("train data --beam 3", "it is of s2s generate, s2s explain and s2s chat"),
        ("train data --no-hlp", "did you mean --help?"),
        ("train data --no-debug", "did you mean --debug?"),
        ("train data --save-dri x", "did you mean --save-dir?"),
    ],
)
def test_what_a_user_of_another_toolkit_is_told(
    capsys: pytest.CaptureFixture[str], line: str, hint: str
) -> None:
    (said,) = problems(capsys, line).values()
    assert said.startswith(hint)


@pytest.mark.parametrize(
    ("command", "typed", "wanted"),
    [
        ("train", "--learning-rate", "--lr"),
        ("train", "--relu-dropout", "--activation-dropout"),
        ("train", "--max-updates", "--max-update"),
        ("train", "--beam-size", "--eval-beam"),
        ("generate", "--beam-size", "--beam"),
        ("generate", "--sampling-topp", "--top-p"),
        ("score", "--ignore-case", "--lowercase"),
        ("preprocess", "--shared-vocab", "--joined-dictionary"),
        ("train", "--learning_rate", ""),
        ("generate", "--learning-rate", ""),
    ],
)
def test_flags_that_mean_the_same_are_taken(command: str, typed: str, wanted: str) -> None:
    assert VOCABULARIES[command].same(typed) == wanted


def test_a_name_is_taken_for_one_flag_only() -> None:
    """No two toolkits give a name that is taken two meanings."""
    for vocabulary in VOCABULARIES.values():
        for name in {name.split()[-1] for toolkit in TOOLKITS for name in toolkit.same}:
            entries = [
                toolkit.same.get(f"{vocabulary.command} {name}", toolkit.same.get(name))
                for toolkit in TOOLKITS
            ]
            meant = {ours for ours in entries if ours in vocabulary.options}
            others = [
                toolkit.name
                for toolkit in TOOLKITS
                if name in {**toolkit.instead, **toolkit.needless}
                or f"{vocabulary.command} {name}" in toolkit.instead
            ]
            assert len(meant - {"--beam"}) <= 1
            assert not meant or not others, (name, others)


@pytest.mark.parametrize("command", COMMANDS)
def test_hints_name_flags_that_exist(command: str) -> None:
    """A flag in a hint is the command's own, or one of the command that the hint names; none leads back to itself."""
    vocabulary = VOCABULARIES[command]
    names = {name for toolkit in TOOLKITS for name in (*toolkit.same, *toolkit.instead, *toolkit.needless)}
    hints = {
        name: vocabulary.instead_of(name) for name in names if " " not in name and not vocabulary.same(name)
    }
    hints |= {
        f"{flag} {value}": vocabulary.instead_of_value(vocabulary.options[flag], value)
        for toolkit in TOOLKITS
        for flag, values in toolkit.values.items()
        for value in values
        if flag in vocabulary.options
    }
    for name, hint in hints.items():
        assert f"s2s {command} --" not in hint, (name, hint)
        assert "did you mean" not in hint
        elsewhere = set().union(*(VOCABULARIES[other].options for other in re.findall(r"s2s ([a-z]+)", hint)))
        for part in hint.split("; "):
            if "to be left out" in part:
                known = set().union(*(item.options for item in VOCABULARIES.values()))
            else:
                known = {*vocabulary.options, *elsewhere, *OTHERS}
            assert set(FLAG.findall(part)) <= known, (name, part)


@pytest.mark.parametrize("toolkit", TOOLKITS, ids=lambda toolkit: toolkit.name)
def test_hints_are_for_flags_that_do_not_exist(toolkit: Toolkit) -> None:
    """Some command lacks the flag, and has what the hint names: else the hint is dead."""
    for entry, text in {**toolkit.instead, **toolkit.same}.items():
        command, _, name = entry.rpartition(" ")
        owners = [VOCABULARIES[command]] if command else [*VOCABULARIES.values()]
        wanted = set(FLAG.findall(text.split(",")[0])) - OTHERS
        assert any(name not in owner.options and wanted <= {*owner.options} for owner in owners), entry
