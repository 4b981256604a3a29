"""What --help, --help-all and `s2s help COMMAND.PART` show: order, widths, defaults and whose settings they are."""

from __future__ import annotations

import re

import pytest

from s2scli.cli.app import run
from s2scli.cli.commands import COMMANDS, CONFIGS
from s2scli.cli.help import full_help, manual_help, part_help, parts_of, program_help, short_help
from s2scli.cli.options import OWN_FLAGS, Given, flags_of
from s2scli.configs.presets import PRESETS
from s2scli.configs.train import TrainConfig
from s2scli.schema import setting_types

NOTHING = Given({}, {}, None, debug=False)
EVERY = {
    **{name: lambda width, name=name: short_help(name, NOTHING, {}, width) for name in COMMANDS},
    **{f"{name} in full": lambda width, name=name: full_help(name, NOTHING, {}, width) for name in COMMANDS},
    **{
        f"{name}.{part}": lambda width, name=name, part=part: part_help(name, part, width)
        for name in COMMANDS
        for part in parts_of(name)
    },
    "s2s": lambda width: program_help([("--version", "print the version")], width),
    "help": manual_help,
}


def shown(*words: str) -> str:
    """A help text on one line."""
    return " ".join(full_help("train", given(*words), {}, 80).split())


def entries(text: str) -> dict[str, str]:
    """The text of each setting in a help text, by its flag."""
    rows = re.sub(r"\n {10,}", " ", text).splitlines()
    matches = (
        re.match(r"  (?:-\w, )?(--[\w-]+)(?: / --[\w-]+)?(?: [A-Z|a-z0-9,.]+)? +(.*)", row) for row in rows
    )
    return {match[1]: match[2] for match in matches if match}


def given(*words: str) -> Given:
    """What was typed, as key=value."""
    values = dict(word.split("=") for word in words)
    return Given(values, dict.fromkeys(values, "typed"), None, debug=False)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_too_long_and_no_word_is_cut(name: str, width: int) -> None:
    text = EVERY[name](width)
    assert max(map(len, text.splitlines())) <= width
    # Where there is room for everything, no word needs to be cut.
    whole = set(EVERY[name](100_000).split())
    assert set(text.split()) <= whole | {word for item in whole for word in item.split()}


def test_a_wide_terminal_is_used() -> None:
    lines = full_help("train", NOTHING, {}, 120).splitlines()
    assert max(map(len, lines)) > 110
    assert len(lines) < 0.8 * len(full_help("train", NOTHING, {}, 80).splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_settings_are_in_alphabetical_order_under_each_heading(name: str) -> None:
    for block in full_help(name, NOTHING, {}, 80).split("\n\n"):
        title, *rows = block.splitlines()
        flags = [match[1] for row in rows if (match := re.match(r"  (?:-\w, )?--([\w-]+)", row))]
        assert flags == sorted(flags) or title == "Help and config files:"


@pytest.mark.parametrize("name", ["preprocess", "train", "generate", "chat"])
def test_what_people_change_comes_first_and_by_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = {flag.name for flag in flags_of(CONFIGS[name]) if flag.common}
    assert 10 <= len(common) <= {"train": 20}.get(name, 25)
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    (block,) = re.findall(r"^Common settings:\n(.*?)\n\n", text, re.M | re.S)
    assert set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", block, re.M)) == common
    assert len(text.splitlines()) < 140
    assert f"s2s {name} --help-all" in text


def test_every_setting_is_in_the_full_help_once() -> None:
    for name in COMMANDS:
        text = full_help(name, NOTHING, {}, 80)
        found = re.findall(r"^  (?:-\w, )?(--[\w-]+|[A-Z]+(?= ))", text, re.M)
        assert sorted(found) == sorted(
            [flag.name for flag in flags_of(CONFIGS[name])] + [flag.name for flag in OWN_FLAGS]
        )


@pytest.mark.parametrize("name", COMMANDS)
def test_parts_are_told_of_where_there_are_some(name: str) -> None:
    text = short_help(name, NOTHING, {}, 80)
    assert not re.search(r"PART:\s*$", text, re.M)


def test_parts_hold_every_setting_once() -> None:
    for name in ("preprocess", "train", "generate"):
        texts = "\n".join(part_help(name, part, 80) for part in parts_of(name))
        found = re.findall(r"^  (?:-\w, )?(--[\w-]+)", texts, re.M)
        assert sorted(found) == sorted(
            flag.name for flag in flags_of(CONFIGS[name]) if flag.key and not flag.argument
        )


def test_a_setting_is_told_with_what_has_it() -> None:
    """Each of them is named, unless it is all that can be chosen, and then the flag means the same in all."""
    found = entries(full_help("train", NOTHING, {}, 80))
    assert found["--reverse-source"].endswith("(Sutskever et al. 2014) (default: no) [recurrent]")
    assert found["--activation-fn"].endswith(
        "(relu, gelu, gelu_new, swish, reglu, geglu, geglu_new, swiglu; default: swiglu with transformer, relu with "
        "transformer_lm) [transformer, transformer_lm]"
    )
    assert found["--encoder-layers"].startswith(
        "encoder layers (≥ 1; default: 1 with recurrent, 4 with transformer)"
    )
    for section, classes in TrainConfig.sections().items():
        for flag in flags_of(TrainConfig):
            of, _, key = flag.key.rpartition(".")
            if of != section or key == "name":
                continue
            having = [name for name, cls in classes.items() if key in setting_types(cls)]
            groups = re.findall(r"\[([a-z0-9_, ]+)\](?:;|$)", found[flag.name])
            named = [name for group in groups for name in group.split(", ")]
            assert sorted(named) == sorted(having) if named else having == [*classes], flag.name


@pytest.mark.parametrize("arch", PRESETS)
def test_an_architecture_shows_its_own_defaults(arch: str) -> None:
    text = full_help("train", given(f"arch={arch}"), {}, 80)
    found, preset = entries(text), PRESETS[arch]
    assert f"Defaults are those of --arch {arch}: model {preset['model']['name']}," in " ".join(text.split())
    for name, value in preset["model"].items():
        if name != "name":
            wanted = ("yes" if value else "no") if isinstance(value, bool) else value
            assert found[f"--{name.replace('_', '-')}"].endswith(f"default: {wanted})")
    assert found["--lr"].endswith(f"default: {preset['optimizer']['lr']})")
    assert ("--reverse-source" in found) == (preset["model"]["name"] == "recurrent")
    assert ("--encoder-attention-heads" in found) == (preset["model"]["name"] == "transformer")


def test_another_component_shows_its_own_settings() -> None:
    text = shown("optimizer.name=sgd")
    assert "--momentum NUMBER momentum" in text
    assert "--adam-betas" not in text
    assert "the last of which stays (> 0; default: 0.1)" in text
    # The default's own rate is the preset's, and for all others what they begin with.
    assert "default: 0.001 with adam, adamw and rmsprop, 0.1 with sgd" in shown()
    assert "0.012 with muon" in shown()


def test_an_unknown_architecture_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--arch", "transfromer_big", "--help-all"]) == 2
    assert "did you mean transformer_big?" in capsys.readouterr().err
