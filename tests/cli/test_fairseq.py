"""fairseq's flags: those that s2s lacks are told what to be replaced by, with flags that there are."""

from __future__ import annotations

import re

import pytest

from s2scli.cli import fairseq
from s2scli.cli.app import COMMANDS, run
from s2scli.cli.options import flags_of
from s2scli.registry import Registry

CONFIGS = Registry("command", {name: command.config for name, command in COMMANDS.items()})
NAMES = {
    command: {name for flag in flags_of(CONFIGS[command]) for name in flag.declaration.split("/")}
    for command in COMMANDS
}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("train", "data", "--fp16"), "fairseq's --fp16 is --precision fp16 here"),
        (("train", "data", "--eval_bleu"), "fairseq's --eval-bleu is --eval-metrics bleu here"),
        (("generate", "--path", "run", "--remove-bpe"), "leave it out: output is whole text"),
        (("generate", "--path", "run", "--source-lang", "en"), "leave it out: the checkpoint knows"),
    ],
)
def test_what_a_fairseq_user_is_told(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], hint: str
) -> None:
    assert run(words) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "no such option: --" in message
    assert hint in message


def test_hints_name_flags_that_exist() -> None:
    known = set().union(*NAMES.values()) | {"--nproc-per-node"}
    for name, hint in fairseq._HERE.items():
        for flag in re.findall(r"--[a-z-]+", hint):
            assert flag in known, (name, flag)


@pytest.mark.parametrize("name", [*fairseq._HERE, *fairseq._LEAVE_OUT])
def test_hints_are_for_flags_that_do_not_exist(name: str) -> None:
    """At least one command does not have it; where all that could have it do, the hint is in nobody's way."""
    assert any(name not in flags for flags in NAMES.values())
    assert fairseq.what_instead(name)
    assert not fairseq.what_instead("--xyzzy")
