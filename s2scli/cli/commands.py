"""The table of the commands of s2s; listing them imports none of their parts."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.cli.options import flags_of
from s2scli.registry import Registry


@dataclass(frozen=True)
class Command:
    """A command of s2s, as "module:name" of its parts so that listing it imports none of them.

    config: the settings dataclass; run: the function that takes one and returns the result; show: the
    function that prints the result, where `run` has not done so by itself. reads: it opens the checkpoints and the
    dataset that its settings name, which are looked for before it is imported. chapters: where the manual tells more.
    """

    config: str
    run: str
    help: str
    examples: tuple[str, ...] = ()
    show: str = ""
    reads: bool = False
    chapters: tuple[str, ...] = ()


COMMANDS = {
    "preprocess": Command(
        "s2scli.configs.preprocess:PreprocessConfig",
        "s2scli.preprocess:preprocess",
        "Turn raw text into a dataset folder: tokenize it and build the vocabularies.",
        (
            "s2s preprocess --source-lang en --target-lang de --trainpref text/train \\\n"
            "      --validpref text/valid --destdir data",
            "s2s preprocess --train-file pairs.tsv.gz --valid-fraction 0.001 --destdir data",
        ),
        chapters=("data", "speech", "first-steps"),
    ),
    "train": Command(
        "s2scli.configs.train:TrainConfig",
        "s2scli.train:train",
        "Train a model on a dataset folder.",
        (
            "s2s train data --arch transformer --save-dir run",
            "s2s train --config run/config.toml --save-dir again",
        ),
        reads=True,
        chapters=("training", "models", "resuming", "tuning", "config"),
    ),
    "generate": Command(
        "s2scli.configs.generate:GenerateConfig",
        "s2scli.generate:generate",
        "Translate text, or a split of a dataset folder, with a trained model.",
        (
            "s2s generate --path run < source.txt > output.txt",
            "s2s generate data --path run --gen-subset test --beam 5 --format jsonl \\\n      > output.jsonl",
            "s2s generate --path run --serve translate.sock",
        ),
        reads=True,
        chapters=("generating", "constraints", "serving", "tuning", "formats", "speech"),
    ),
    "explain": Command(
        "s2scli.configs.explain:ExplainConfig",
        "s2scli.explain:explain",
        "Tell what each token of an output comes from, or what the search for it did.",
        (
            "s2s explain --path run < source.txt",
            "s2s explain --path run --input source.txt --method erasure --output page.html",
            "s2s explain data --path run --references --trace --format jsonl > traces.jsonl",
        ),
        reads=True,
        chapters=("explaining",),
    ),
    "chat": Command(
        "s2scli.configs.chat:ChatConfig",
        "s2scli.chat:chat",
        "Talk with a trained model in the terminal, or answer the JSON dialogues of a pipe.",
        (
            "s2s chat --path run",
            "s2s chat --path run --sampling --top-p 0.9 --seed 3",
            "s2s chat --path run --input dialogues.jsonl > answers.jsonl",
        ),
        reads=True,
        chapters=("chatting",),
    ),
    "score": Command(
        "s2scli.configs.score:ScoreConfig",
        "s2scli.score:score",
        "Score output, of one system or several: metrics of all tasks, with error bars and tests of differences.",
        (
            "s2s score --sys output.txt --ref reference.txt",
            "s2s generate --path run < in.txt | s2s score --ref ref.txt --tokenize zh",
            "s2s score --sys base.txt new.txt --ref reference.txt --metrics bleu,rougel \\\n"
            "      --diff --report report.html",
        ),
        show="s2scli.score:show",
        chapters=("scoring",),
    ),
    "sweep": Command(
        "s2scli.configs.sweep:SweepConfig",
        "s2scli.sweep:sweep",
        "Search for the settings that give the best models, by trials of which the good ones go on.",
        (
            "s2s sweep space.toml data --max-trials 20",
            "s2s sweep space.toml data --scheduler asha --max-total-updates 20000 \\\n      --metric bleu",
        ),
        show="s2scli.sweep:show",
        reads=True,
        chapters=("searching",),
    ),
    "export": Command(
        "s2scli.configs.export:ExportConfig",
        "s2scli.export:export",
        "Write a trained model in another toolkit's format, for its engine.",
        (
            "s2s export run --to ctranslate2 --out run_ct2",
            "s2s export run --to ctranslate2 --out run_int8 --quantization int8 \\\n      --input test.txt",
            "s2s export run --to onnx --out run_onnx --input test.txt",
        ),
        reads=True,
        chapters=("from-and-to",),
    ),
    "datastore": Command(
        "s2scli.configs.datastore:DatastoreConfig",
        "s2scli.datastore:datastore",
        "Write down what a model makes of pairs, for s2s generate to find what is near.",
        ("s2s datastore run data --output run/datastore.safetensors",),
        reads=True,
        chapters=("little-data",),
    ),
    "average": Command(
        "s2scli.configs.average:AverageConfig",
        "s2scli.average:average",
        "Average the weights of several checkpoints into one.",
        (
            "s2s average --inputs run --num-epoch-checkpoints 10 \\\n"
            "      --output run/checkpoint_average.safetensors",
        ),
        chapters=("resuming", "tuning"),
    ),
    "trim": Command(
        "s2scli.configs.trim:TrimConfig",
        "s2scli.trim:trim",
        "Leave the symbols that a text never uses out of a model's vocabularies.",
        (
            "s2s trim run --keep data --output small.safetensors",
            "s2s trim run --keep-source text.en --keep-target text.de \\\n      --output small.safetensors",
        ),
        reads=True,
        chapters=("tuning",),
    ),
    "import": Command(
        "s2scli.configs.importing:ImportConfig",
        "s2scli.importing:import_model",
        "Make a checkpoint of a model that another toolkit has trained.",
        (
            "s2s import fairseq/checkpoint_best.pt --save-dir model",
            "s2s import opus-mt-en-de --save-dir model",
        ),
        chapters=("from-and-to",),
    ),
    "plot": Command(
        "s2scli.configs.plot:PlotConfig",
        "s2scli.plot:plot",
        "Draw the losses, scores, rates and norms of runs: in the terminal, or as a picture.",
        (
            "s2s plot run",
            "s2s plot run other_run --figures loss,bleu --smooth 5 --output curves.svg",
            "s2s plot sweep",
        ),
        show="s2scli.plot:show",
        chapters=("watching",),
    ),
    "inspect": Command(
        "s2scli.configs.inspect:InspectConfig",
        "s2scli.inspect:inspect",
        "Tell what a dataset folder or a checkpoint holds.",
        (
            "s2s inspect data",
            "s2s inspect data --split test --examples 10 --output lengths.svg",
            "s2s inspect run --format json",
        ),
        show="s2scli.inspect:show",
        chapters=("watching",),
    ),
}
CONFIGS = Registry("command", {name: command.config for name, command in COMMANDS.items()})
VERBS = Registry("command", {name: command.run for name, command in COMMANDS.items()})
SHOWS = Registry("command", {name: command.show for name, command in COMMANDS.items() if command.show})


def commands_with(flag: str) -> list[str]:
    """The commands that have a flag."""
    return [
        name
        for name in COMMANDS
        if any(flag in known.declaration.split("/") for known in flags_of(CONFIGS[name]))
    ]
