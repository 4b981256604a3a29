"""Settings of `s2s generate`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from s2scli.configs.address import parse_address
from s2scli.configs.command import CommandConfig
from s2scli.configs.decoding import DecodingConfig
from s2scli.configs.input import CLIENTS, InputConfig
from s2scli.configs.search import CONSTRAINTS_NEED, SearchConfig
from s2scli.configs.server import ServerConfig
from s2scli.errors import UsageError
from s2scli.schema import given_beside, limits_of, setting

# The headings of the help.
_MODELS = "Models"
_INPUT_AND_OUTPUT = "Input and output"
_BATCHES_AND_HARDWARE = "Batches and hardware"
_SCORING = "Scoring"
_ATTENTION = "Attention"
_PHRASES = "Phrases"
# Heat maps in one picture.
MOST_MAPS = 12
_ENDINGS = (".html", ".png", ".svg")
PHRASE_FILES = ("glossary", "exclude", "bad_tokens")


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(InputConfig, DecodingConfig, ServerConfig, CommandConfig):
    """Which model, which text, how to search and how to print."""

    encoder_layers_to_keep: tuple[int, ...] = setting(
        (),
        "of a Transformer, these encoder layers only, from 0 at the bottom, as 0,2,4: faster, for a model "
        "that was trained with --encoder-layerdrop; if not given, all",
        at_least=0,
        panel=_MODELS,
    )
    decoder_layers_to_keep: tuple[int, ...] = setting(
        (), "as --encoder-layers-to-keep, of the decoder", at_least=0, panel=_MODELS
    )
    output: Path | None = setting(
        None,
        "file to write in place of standard output; it appears when it is complete, and a repeated command goes on "
        "with what an interrupted one has done",
        panel=_INPUT_AND_OUTPUT,
        common=True,
        decides=False,
        not_beside={"serve": CLIENTS},
    )
    overwrite: bool = setting(
        False,
        "begin --output anew, whatever was done before",
        needs="output",
        panel=_INPUT_AND_OUTPUT,
        decides=False,
        not_beside={"serve": CLIENTS},
    )
    constraints: str | None = setting(
        None,
        "outputs hold given phrases, in this order or in any; in lines of text they stand after the source, "
        "tab-separated; JSON records may have a list `constraints` without this flag too",
        choices=("ordered", "unordered"),
        panel=_PHRASES,
        common=True,
    )
    glossary: Path | None = setting(
        None,
        "source term, tab and target term a line: where a term is in a line, its target is a constraint",
        panel=_PHRASES,
    )
    exclude: Path | None = setting(
        None,
        "phrases that no output holds, one a line; JSON records may have a list `exclude` of their own",
        panel=_PHRASES,
    )
    bad_tokens: Path | None = setting(
        None,
        "entries of the target vocabulary that no output holds, one a line; <unk> is one of them",
        panel=_PHRASES,
    )
    batch_size: int = setting(
        128,
        "most sentences in a batch",
        unit="sentences",
        at_least=1,
        panel=_BATCHES_AND_HARDWARE,
        decides=False,
    )
    max_tokens: int = setting(
        12000,
        "most source tokens in a batch, padding counted",
        unit="tokens",
        at_least=1,
        panel=_BATCHES_AND_HARDWARE,
        common=True,
        decides=False,
    )
    buffer_size: int = setting(
        4096,
        "lines read ahead and sorted by length before they are translated",
        unit="lines",
        at_least=1,
        panel=_BATCHES_AND_HARDWARE,
        decides=False,
    )
    score_reference: bool = setting(
        False,
        "in place of translating, the model's log-probability of each token of the references; as text, their mean "
        "and the reference, tab-separated",
        panel=_SCORING,
        common=True,
    )
    context_window: int = setting(
        0,
        "of a language model, the tokens of the lines before a line, end symbols counted, that it reads before it "
        "scores that line",
        unit="tokens",
        at_least=0,
        needs="score_reference",
        panel=_SCORING,
        not_beside={"serve": "whose requests have no order"},
    )
    follow: bool = setting(
        False,
        "answer each line at once, as is done when standard input is a terminal",
        panel=_INPUT_AND_OUTPUT,
        decides=False,
        not_beside={"serve": "which answers each request at once"},
    )
    format: str = setting(
        "text",
        "plain text, a JSON record a line, the S-, T-, H-, D- and P- lines of fairseq-generate, in order, or outputs "
        "with tables of what they attend to",
        choices=("text", "jsonl", "fairseq", "table"),
        panel=_INPUT_AND_OUTPUT,
        common=True,
    )
    replace_unk: bool = setting(
        False,
        "put the source word that it attends to most in place of each <unk> of an output",
        panel=_ATTENTION,
    )
    replace_unk_dictionary: Path | None = setting(
        None,
        "with --replace-unk, what to put in place of source words: a file with source word, tab, target word a line",
        panel=_ATTENTION,
        needs="replace_unk",
    )
    print_alignment: bool = setting(
        False,
        "the source word that each output word attends to most, as 0-0 1-2, source-target from 0: in a second column "
        "of text, field alignment of jsonl, A- lines of fairseq",
        panel=_ATTENTION,
        common=True,
    )
    alignment_unit: str = setting(
        "word",
        "what --print-alignment counts: words between white space of line and output, or tokens",
        choices=("word", "token"),
        panel=_ATTENTION,
        needs="print_alignment",
    )
    print_attention: bool = setting(
        False,
        "with jsonl, how much each output token (rows) attends to each source token (columns), with source_tokens",
        panel=_ATTENTION,
        needs="format=jsonl",
    )
    attention: Path | None = setting(
        None,
        "file for heat maps of what outputs attend to: .html for all of them, .png or .svg for the first "
        f"{MOST_MAPS}",
        panel=_ATTENTION,
        decides=False,
        not_beside={"serve": "which sends its answers only"},
    )
    num_shards: int = setting(
        1,
        "divide the lines over so many commands: line i, from 0, is of shard i modulo N",
        at_least=1,
        panel=_BATCHES_AND_HARDWARE,
        not_beside={"serve": "which answers every line of a request"},
    )
    shard_id: int = setting(
        0,
        "which lines this command translates, from 0",
        at_least=0,
        needs="num_shards",
        panel=_BATCHES_AND_HARDWARE,
        not_beside={"serve": "which answers every line of a request"},
    )
    processes: int = setting(
        1,
        "processes that translate, each with the model and a thread (or --threads) of its own",
        at_least=1,
        at_most=1024,
        panel=_BATCHES_AND_HARDWARE,
        common=True,
        decides=False,
        not_beside={"serve": "which computes in one process; give it --threads"},
    )

    @property
    def chooses_adapters(self) -> bool:
        """Whether each line may have another adapter, so that none is put into the model's weights."""
        has_records = self.input_format == "jsonl" or ".jsonl" in self.input.suffixes
        return bool(self.adapter) and (len(self.adapter) > 1 or self.serve is not None or has_records)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard_id >= self.num_shards:
            raise UsageError(f"--shard-id {self.shard_id} must be under --num-shards {self.num_shards}")
        self._check_attention()
        self._check_reranking()
        self._check_serving()
        self.check_input()
        if self.context_window and (self.processes > 1 or self.num_shards > 1):
            raise UsageError(
                f"--context-window {self.context_window}: a line is scored after those before it, which --processes "
                "and --num-shards give to others; leave them out"
            )

    @property
    def shows_attention(self) -> bool:
        """Whether the weights themselves are wanted."""
        return self.print_attention or self.attention is not None or self.format == "table"

    @property
    def shows_scores(self) -> bool:
        """Whether outputs may be wanted with the log-probability of each token; a server's requests choose a format."""
        return self.format in ("jsonl", "fairseq") or self.serve is not None

    @property
    def reads_attention(self) -> bool:
        """Whether outputs are wanted with what they attend to."""
        return self.shows_attention or self.print_alignment or self.replace_unk

    def _check_attention(self) -> None:
        if self.replace_unk and self.score_reference:
            raise UsageError(
                "--replace-unk is for outputs, and --score-reference makes none; give one of them"
            )
        if self.attention is not None and self.attention.suffix.lower() not in _ENDINGS:
            raise UsageError(f"--attention {self.attention}: the ending must be one of {', '.join(_ENDINGS)}")
        if self.data is not None and self.constraints:
            raise UsageError("--constraints is for --input; a dataset's lines have none")
        wanted = [name for name in ("constraints", *PHRASE_FILES) if getattr(self, name) is not None]
        if wanted and self.score_reference:
            raise UsageError(f"--{wanted[0].replace('_', '-')} is for outputs; --score-reference makes none")
        if (self.constraints or self.glossary) and not self.of_candidates.can_be_constrained:
            raise UsageError(CONSTRAINTS_NEED)

    def _check_serving(self) -> None:
        if self.serve is None:
            return
        parse_address(self.serve)
        for field, reason in given_beside(self, "serve"):
            flag = "DATA" if limits_of(field).argument else f"--{field.name.replace('_', '-')}"
            raise UsageError(f"{flag} does not go with --serve, {reason}")

    def _check_reranking(self) -> None:
        if not self.rerank_path:
            return
        if self.rerank_weight and len(self.rerank_weight) not in (1, len(self.rerank_path)):
            raise UsageError(
                f"--rerank-weight has {len(self.rerank_weight)} values; give one, or one for each --rerank-path "
                f"({len(self.rerank_path)})"
            )
        if self.mbr != "none" or self.score_reference:
            other = "--score-reference" if self.score_reference else f"--mbr {self.mbr}"
            raise UsageError(f"--rerank-path chooses among outputs by scores, and {other} does not; give one")
        if self.nbest > self.rerank_candidates:
            raise UsageError(
                f"--nbest {self.nbest} needs as many --rerank-candidates; they are {self.rerank_candidates}"
            )

    @property
    def of_candidates(self) -> SearchConfig:
        """The settings by which the outputs are found that are chosen from, for --mbr or --rerank-path."""
        if not self.rerank_path:
            return super().of_candidates
        number = self.rerank_candidates
        return replace(self, nbest=number, beam=self.beam_for(number), rerank_path=(), rerank_weight=())

    @property
    def of_scorers(self) -> GenerateConfig:
        """The settings by which a model of --rerank-path scores outputs: without those that are about finding them."""
        return replace(
            self,
            rerank_path=(),
            rerank_weight=(),
            retain_dropout=False,
            constraints=None,
            glossary=None,
            exclude=None,
            bad_tokens=None,
            attention=None,
            print_attention=False,
            print_alignment=False,
            replace_unk=False,
            format="text",
        )
