"""The manual: chapters in Markdown, which `s2s help TOPIC` shows and which a browser shows in the repository."""

from __future__ import annotations

from pathlib import Path

# Chapter → what it tells, in the order in which to read them.
CHAPTERS = {
    "first-steps": "from raw text to a translation and a score",
    "data": "preparing text: formats, cleaning, tokenizers, tags, several corpora",
    "models": "the architectures, and the presets that --arch names",
    "training": "optimizers, schedules, objectives, precision, memory",
    "resuming": "stopping and going on, checkpoints, starting from a model, averaging",
    "tuning": "beginning with a model: domains, adapters, other and smaller vocabularies",
    "little-data": "text of one language, many languages, and what else helps where pairs are few",
    "machines": "several GPUs or machines, and clusters",
    "searching": "settings that give the best models: spaces, samplers, schedulers",
    "watching": "curves of a run, and what datasets and checkpoints hold",
    "gradients": "gradients that vanish and explode, over source length, layers and updates",
    "generating": "searches, sampling, ensembles, language models, reranking, attention",
    "explaining": "what an output comes from, and what the search did",
    "constraints": "phrases that outputs must or must not hold, glossaries, copied words",
    "formats": "pipes, JSON records, long lines, and what is written where",
    "serving": "a server at a socket or a port of this machine",
    "chatting": "dialogues, and talking with a model",
    "speech": "recordings and features as sources, recognizers, transcribing",
    "scoring": "metrics, intervals, and whether systems differ",
    "speed": "what is fast, what it costs, and how it compares",
    "config": "config files, their sections, and what goes over what",
    "messages": "errors, warnings and exit codes",
    "python": "calling the commands from Python",
    "recipes": "complete pipelines, for ten tasks and for little data",
    "from-and-to": "models of other toolkits, and models for their engines",
    "from-fairseq": "fairseq's commands and flags, and what they are here",
    "from-opennmt-py": "OpenNMT-py's flags, and what they are here",
    "from-sockeye": "Sockeye's flags, and what they are here",
    "from-marian": "Marian's flags, and what they are here",
    "from-joey-nmt": "Joey NMT's keys, and what they are here",
}


def chapter(name: str) -> str:
    """The Markdown of a chapter; name: one of CHAPTERS."""
    return (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")
