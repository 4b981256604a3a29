"""`s2s help`: the chapters of the manual, and the settings of commands by part."""

from __future__ import annotations

import sys

from s2scli.cli.commands import COMMANDS, commands_with
from s2scli.cli.help import manual_help, part_help, parts_of, short_help
from s2scli.cli.options import Given
from s2scli.cli.pager import page
from s2scli.errors import UsageError, did_you_mean
from s2scli.manual import CHAPTERS, chapter
from s2scli.streams import columns, is_open_terminal


def topics() -> list[str]:
    """All that `s2s help` tells of: chapters, commands, and parts of commands."""
    parts = [f"{name}.{part}" for name in COMMANDS for part in parts_of(name)]
    return [*CHAPTERS, *COMMANDS, *parts]


def show_topic(topic: str) -> None:
    """Show a topic; without one, the list of chapters. Raises UsageError for a topic that there is not."""
    width = columns(sys.stdout)
    if not topic:
        page(manual_help(width))
    elif topic in CHAPTERS:
        page(_shown(chapter(topic), width) if is_open_terminal(sys.stdout) else chapter(topic))
    elif topic in COMMANDS:
        page(short_help(topic, Given({}, {}, None, debug=False), {}, width))
    elif topic in (known := topics()):
        name, _, part = topic.partition(".")
        page(part_help(name, part, width))
    else:
        near = did_you_mean(topic, known)
        hint = near if "did you mean" in near else "; s2s help lists the topics"
        flag = "--" + topic.lstrip("-")
        if commands := commands_with(flag):
            hint = f"; {flag} is a flag of s2s {commands[0]}: s2s {commands[0]} --help-all"
        raise UsageError(f"no such topic: {topic}{hint}")


def _shown(text: str, width: int) -> str:
    from s2scli.cli.markdown import rendered  # a tenth of a second, which only terminals have a use for

    return rendered(text, width)
