"""Commands of a conversation that read and write files and settings, without a model."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from s2scli.configs.generate import GenerateConfig
from s2scli.configs.search import SearchConfig
from s2scli.errors import UsageError
from s2scli.inference.chat.commands import Session
from s2scli.inference.chat.conversation import Conversation


@pytest.fixture
def session() -> Session:
    conversation: Any = SimpleNamespace(turns=["a", "b"], config=GenerateConfig(path=Path("run"), beam=3))
    conversation.to_json = lambda: json.dumps({"turns": conversation.turns})
    conversation.settings = Conversation.settings.fget(conversation)  # type: ignore[attr-defined]
    return Session(cast(Conversation, conversation))


def test_what_is_saved_is_not_overwritten_without_a_word(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "talk.jsonl"
    session.turn(f"/save {path}")
    assert capsys.readouterr().err == f"{path}: 2 turns\n"
    session.conversation.turns.append("c")
    session.turn(f"/save {tmp_path / '..' / tmp_path.name / 'talk.jsonl'}")
    assert capsys.readouterr().err.endswith(": 3 turns, in place of what /save wrote before\n")
    assert json.loads(path.read_text()) == {"turns": ["a", "b", "c"]}
    # Somebody else's is not what was saved.
    path.write_text("mine, now")
    with pytest.raises(UsageError, match="has been changed since it was saved; give another name"):
        session.turn(f"/save {path}")
    (tmp_path / "other").write_text("mine")
    with pytest.raises(UsageError, match="is there already; give another name"):
        session.turn(f"/save {tmp_path / 'other'}")
    assert (path.read_text(), (tmp_path / "other").read_text()) == ("mine, now", "mine")


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-of-this-name/talk"])
def test_a_name_that_no_file_can_have_leaves_the_conversation(session: Session, name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be written: .*; give another name"):
        session.turn(f"/save {name}")


def test_set_alone_shows_all_settings(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    session.turn("/set")
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().err.splitlines()]
    assert [name for name, _ in rows] == [field.name for field in fields(SearchConfig)]
    assert dict(rows)["beam"] == "3  (by default 5)"
    assert dict(rows)["sampling"] == "false"
    assert dict(rows)["target_prefix"] == "''"


def test_a_change_that_cannot_be_searched_leaves_all_as_it_was() -> None:
    def refuse(config: SearchConfig, path: Path) -> Any:
        raise UsageError(f"{path}: not with beam {config.beam}")

    conversation = object.__new__(Conversation)
    conversation.config = config = GenerateConfig(path=Path("run"), beam=3)
    conversation.translator = translator = cast(Any, SimpleNamespace(with_search=refuse))
    with pytest.raises(UsageError, match="run: not with beam 7"):
        Session(conversation).turn("/beam 7")
    assert conversation.config is config
    assert conversation.translator is translator
