"""A conversation with a model: the turns so far, and the answer to the next."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from s2scli.configs.generate import GenerateConfig
from s2scli.configs.search import SearchConfig
from s2scli.console import notice, warn
from s2scli.data.dialogue import Dialogue, DialogueForm
from s2scli.data.source_form import SourceComposer
from s2scli.errors import UsageError, did_you_mean
from s2scli.inference.lines import Line
from s2scli.inference.translator import Translator
from s2scli.needs import with_changes
from s2scli.record import Record, to_line

_SEARCH = {field.name: field for field in fields(SearchConfig)}


def for_dialogues(translator: Translator, path: Path, context_turns: int | None, speaker: str) -> Translator:
    """A translator whose sources are made of turns, as in training, or where that was not on dialogues as they can be.

    context_turns, speaker: in place of what training had. UsageError for a model that answers nothing, and for a
    speaker that it does not know.
    """
    if not translator.engine.reads_source:
        raise UsageError(f"--path {path}: a language model answers nothing; s2s generate goes on with text")
    form = translator.form.dialogue
    if form is None:
        form = _makeshift(translator, path, context_turns)
    elif context_turns and context_turns > form.context_turns:
        warn(f"--context-turns {context_turns}: the model was trained with {form.context_turns}")
    if speaker and not form.speakers:
        raise UsageError(f"--speaker {speaker}: the model was not trained with --speakers; leave it out")
    if speaker and speaker not in form.speakers:
        raise UsageError(
            f"--speaker {speaker}: not in the training data{did_you_mean(speaker, form.speakers)}"
        )
    form = replace(
        form,
        context_turns=context_turns or form.context_turns,
        targets=(speaker,) if speaker else form.targets,
    )
    return replace(translator, form=replace(translator.form, dialogue=form))


def _makeshift(translator: Translator, path: Path, context_turns: int | None) -> DialogueForm:
    """The form in which a model that was not trained on dialogues is given more than one turn."""
    usual = DialogueForm().symbol
    symbol = usual if usual in translator.tokenizers["source"].user_symbols else ""
    if context_turns is None:
        notice(
            f"{path}: was not trained on dialogues, so each turn is answered by itself; --context-turns 3 gives it the "
            "last three"
        )
    elif context_turns > 1:
        notice(f"{path}: was not trained on dialogues; turns are joined by {symbol or 'a space'}")
    return DialogueForm(context_turns=1, symbol=symbol)


@dataclass
class Conversation:
    """Turns that a user and a model take; a translator of `for_dialogues` answers."""

    translator: Translator
    config: GenerateConfig

    def __post_init__(self) -> None:
        form = self.translator.form
        assert form.dialogue is not None
        self.form = form.dialogue
        self.turns: list[str] = []
        self._composer = SourceComposer.of_text(form, self.config.source_tag, self.config.path)

    @property
    def dialogue(self) -> Dialogue:
        """The turns so far, with who says them; the one after the last is the user's."""
        return self.form.named([*self.turns, ""])

    def answer(self, text: str, number: int | None = None) -> Record:
        """The model's answer to a turn, both of which are kept; number: of the line, else of the answer, from 0."""
        source = self._composer.compose_dialogue(self.form, {"turns": [*self.turns, text]})
        line = Line(len(self.turns) // 2 if number is None else number, source)
        (record,) = self.translator.records([line], window=1)
        # Where it has been interrupted nothing is kept.
        self.turns += [text, record.text]
        return record

    def undo(self) -> str | None:
        """Take back the user's last turn and its answer; gives that turn."""
        if not self.turns:
            return None
        *self.turns, text, _ = self.turns
        return text

    def change(self, called: str, **settings: Any) -> None:
        """Change settings of the search; UsageError, which names what the user typed, for those that cannot be."""
        for name in settings:
            if name not in _SEARCH:
                raise UsageError(f"{called}: no setting of the search{did_you_mean(name, _SEARCH)}")
        config = with_changes(self.config, settings, dict.fromkeys(settings, called), "/set {}".format)
        # What cannot be searched so leaves both as they are.
        self.translator = self.translator.with_search(config, config.path)
        self.config = config

    @property
    def settings(self) -> dict[str, tuple[Any, Any]]:
        """The settings of the search, each with its default, as they are typed."""
        return {
            name: (_typed(getattr(self.config, name)), _typed(field.default))
            for name, field in _SEARCH.items()
        }

    @property
    def changed(self) -> dict[str, Any]:
        """The settings of the search that are not the defaults."""
        return {name: value for name, (value, usual) in self.settings.items() if value != usual}

    def to_json(self) -> str:
        """The conversation as a line of JSON, as s2s preprocess reads dialogues."""
        fields = {"turns": self.turns}
        if self.form.speakers:
            fields["speakers"] = self.dialogue.speakers[: len(self.turns)]
        return to_line(fields)


def _typed(value: Any) -> Any:
    """A setting as it would be typed; an empty text is seen as a pair of quotes."""
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else value or repr(value)
    )
