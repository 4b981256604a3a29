"""What has no effect without another setting is refused where it is typed, and told of where it comes otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from s2scli.cli.commands import COMMANDS
from s2scli.cli.options import Given, flags_of, resolve
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.presets import PRESETS
from s2scli.configs.score import ScoreConfig
from s2scli.configs.search import SearchConfig
from s2scli.configs.sections import COMPONENTS, SECTIONS
from s2scli.errors import UsageError
from s2scli.needs import Need, check_needs, needs_of, note_needs, with_changes, without_effect
from s2scli.registry import Registry
from s2scli.schema import as_dict, limits_of
from s2scli.toml import read_toml, to_toml

CONFIGS = Registry("command", {name: command.config for name, command in COMMANDS.items()})


def typed(command: str, *words: str, config: Path | None = None) -> Any:
    """Resolve a command line whose words are `--flag=value` or `--flag`, as the command itself does."""
    cls = CONFIGS[command]
    flags = flags_of(cls)
    keys = {flag.name: flag.key for flag in flags}
    values: dict[str, Any] = {"data": "data"} if command == "train" else {}
    values |= {"path": "run"} if command in ("generate", "explain", "chat") else {}
    names = {}
    for word in words:
        name, equals, value = word.partition("=")
        bare = name if name in keys else name.replace("--no-", "--")
        values[keys[bare]] = value if equals else bare == name
        names[keys[bare]] = bare
    return resolve(cls, flags, Given(values, names, config, debug=False), read_toml(config) if config else {})


REFUSED = [
    ("generate", "--top-p=0.5 --min-p=0.1", "--top-p, --min-p have no effect without --sampling"),
    ("generate", "--seed=9", "--seed has no effect without --sampling or --retain-dropout"),
    ("generate", "--unnormalized --lenpen=2", "--lenpen has no effect beside --unnormalized"),
    ("generate", "--context-window=5", "--context-window has no effect without --score-reference"),
    ("generate", "--top-k=5 --min-p=0.1", "--top-k, --min-p have no effect without --sampling"),
    ("generate", "--typical-p=0.5", "--typical-p has no effect without --sampling"),
    ("generate", "--seed=1", "--seed has no effect without --sampling"),
    ("generate", "--lm-weight=0.3", "--lm-weight has no effect without --lm-path"),
    ("generate", "--rerank-weight=1", "--rerank-weight has no effect without --rerank-path"),
    ("generate", "--mbr-candidates=4", "--mbr-candidates has no effect without --mbr"),
    ("generate", "--diverse-beam-strength=1", "has no effect without --diverse-beam-groups"),
    ("generate", "--shortlist-frequent=9", "--shortlist-frequent has no effect without --shortlist"),
    ("generate", "--replace-unk-dictionary=x", "has no effect without --replace-unk"),
    ("generate", "--print-attention", "--print-attention has no effect without --format jsonl"),
    ("generate", "--gen-subset=valid", "--gen-subset has no effect without DATA"),
    ("generate", "--sampling --beam=9", "--beam has no effect beside --sampling"),
    ("generate", "--sampling --stop=exact", "--stop has no effect beside --sampling"),
    ("generate", "--alignment-layer=1", "has no effect without --print-alignment or --print-attention or"),
    ("generate", "--source-field=text", "without --input-format jsonl or --input"),
    ("chat", "--alignment-layer=1", "--alignment-layer has no effect without --coverage-penalty"),
    ("chat", "--top-p=0.5", "--top-p has no effect without --sampling"),
    ("chat", "--rerank-weight=0.5", "--rerank-weight has no effect without --rerank-path"),
    (
        "train",
        "--eval-beam=5",
        "--eval-beam has no effect without --eval-metrics or --best-checkpoint-metric",
    ),
    ("train", "--decode-and-evaluate=5", "--decode-and-evaluate has no effect without --eval-metrics or"),
    ("train", "--keep-interval-updates=3", "has no effect without --save-interval-updates"),
    (
        "train",
        "--disable-validation --eval-metrics=bleu --keep-best-checkpoints=2 --valid-subset=test --patience=3",
        "--eval-metrics, --valid-subset, --patience have no effect beside --disable-validation",
    ),
    ("train", "--alignment-heads=2", "--alignment-heads has no effect without --copy"),
    ("train", "--arch=rnn_luong --attention-dim=9", "without --attention additive or concat"),
    ("train", "--subword-alpha=0.3", "--subword-alpha has no effect without --subword-sampling"),
    ("train", "--bpe-dropout=0.3", "--bpe-dropout has no effect without --subword-sampling"),
    ("train", "--global-tokens=3", "--global-tokens has no effect without --attention-window"),
    ("train", "--encoder-loss-weight=0.3", "--encoder-loss-weight has no effect without --encoder-loss"),
    ("preprocess", "--tokenizer=word --byte-fallback", "without --tokenizer sentencepiece"),
    ("preprocess", "--source-field=2", "without --train-file or --valid-file or --test-file"),
    ("preprocess", "--speakers --target-speaker=A", "have no effect without --input-format dialogue"),
    ("preprocess", "--min-script=0.3", "without --source-script or --target-script"),
    ("score", "--path=run", "--path has no effect without --metrics ppl or bpc"),
    ("score", "--resamples=0 --seed=4", "--seed has no effect without --resamples other than 0"),
]


@pytest.mark.parametrize(("command", "words", "message"), REFUSED)
def test_a_flag_that_has_no_effect_is_refused(command: str, words: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        typed(command, *words.split())
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("generate", "--sampling --top-p=0.5 --seed=9"),
        ("generate", "--num-shards=1 --shard-id=0"),
        ("generate", "--no-overwrite"),
        ("generate", "--mbr=chrf --mbr-candidates=4"),
        ("train", "--eval-metrics=bleu --eval-beam=5"),
        ("train", "--best-checkpoint-metric=bleu --eval-beam=5"),
        ("train", "--copy --alignment-heads=2"),
        ("train", "--arch=rnn_pointer_generator --coverage --attention-dim=9"),
        ("train", "--no-nesterov --optimizer=sgd"),
        ("score", "--metrics=ppl --path=run"),
    ],
)
def test_a_flag_with_what_it_needs_is_taken(command: str, words: str) -> None:
    assert typed(command, *words.split())


def test_in_a_file_it_is_told_of_and_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text("top_p = 0.5\nseed = 1\n")
    config = typed("generate", config=path)
    assert config.top_p == 0.5
    note_needs(config)
    assert capsys.readouterr().err == "top_p = 0.5 has no effect without sampling\n"
    with pytest.raises(UsageError, match="--seed has no effect without --sampling"):
        typed("generate", "--seed=2", config=path)


@pytest.mark.parametrize("arch", PRESETS)
def test_the_resolved_config_of_a_preset_replays_without_a_word(
    arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    config = typed("train", f"--arch={arch}")
    path.write_text(to_toml(as_dict(config)))
    assert typed("train", config=path) == config
    note_needs(config)
    assert capsys.readouterr().err == ""


def test_a_change_of_some_settings_is_checked_as_flags_are() -> None:
    config = GenerateConfig(path=Path("run"))
    names = {"top_p": "/set top_p"}
    with pytest.raises(UsageError, match="/set top_p has no effect without /set sampling"):
        with_changes(config, {"top_p": "0.5"}, names, "/set {}".format)
    drawn = with_changes(config, {"sampling": "true"}, {"sampling": "/set sampling"})
    drawn = with_changes(drawn, {"top_p": "0.5"}, names)
    assert (drawn.top_p, drawn.sampling) == (0.5, True)
    # What was asked for before stays, without a word, where what it needs goes.
    assert with_changes(drawn, {"sampling": "false"}, {"sampling": "/set sampling"}).top_p == 0.5


def test_python_callers_are_told() -> None:
    lacks = [*without_effect(SearchConfig(top_p=0.5, mbr_candidates=3))]
    assert [(lack.key, lack.value) for lack in lacks] == [("mbr_candidates", 3), ("top_p", 0.5)]
    check_needs(ScoreConfig(), {}, str)


def every_config() -> Iterator[tuple[str, type[Any]]]:
    for name in COMMANDS:
        yield "", CONFIGS[name]
    for section, classes in (COMPONENTS | {name: {name: cls} for name, cls in SECTIONS.items()}).items():
        for cls in classes.values():
            yield section, cls


def declared() -> Iterator[tuple[str, str, type[Any], Need]]:
    for section, cls in every_config():
        for field in fields(cls):
            if "limits" in field.metadata:
                for needs in needs_of(limits_of(field), section):
                    yield from ((section, field.name, cls, need) for need in needs)


def test_every_need_names_a_setting_that_there_is_and_values_that_it_may_have() -> None:
    seen = 0
    for section, name, cls, need in declared():
        of_section, _, key = need.key.rpartition(".")
        owners = [cls] if of_section == section else [*COMPONENTS[of_section].values()]
        found = [field for owner in owners for field in fields(owner) if field.name == key]
        # Chat has the search's settings and not all that print what the search found.
        if cls.__name__ == "ChatConfig" and name == "alignment_layer":
            continue
        assert found, f"{cls.__name__}.{name} needs {need.key}"
        for field in found:
            limits = limits_of(field)
            assert not limits.choices or {*need.values} <= {*limits.choices}, (name, need)
        seen += 1
    assert seen > 30
