"""A record as `s2s generate` prints it: --format text, jsonl, fairseq or table."""

from __future__ import annotations

from s2scli.configs.generate import GenerateConfig
from s2scli.record import Record


def format_record(record: Record, config: GenerateConfig) -> str:
    """A record as JSON, as fairseq prints it, or its best outputs as text lines."""
    if config.format == "jsonl":
        return record.to_json()
    if config.format == "fairseq":
        return record.to_fairseq()
    if config.format == "table":
        # rich takes a while to load.
        from s2scli.plotting.heat import heat_maps, table
        from s2scli.styled import StyledConsole

        width = StyledConsole().width
        tables = [f"{table(item, width)}\n" for item in heat_maps(record)]
        return "\n".join([_as_text(record, config), *tables])
    return _as_text(record, config)


def _as_text(record: Record, config: GenerateConfig) -> str:
    """A record as one line of text for each output, or as a blank one."""
    if config.score_reference:
        lines = [f"{item.score:.4f}\t{record.reference}" for item in record.hypotheses]
    elif config.nbest == 1:
        lines = [record.text]
    else:
        lines = [f"{record.id}\t{item.score:.4f}\t{item.text}" for item in record.hypotheses]
    if config.print_alignment:
        lines = [f"{line}\t{item.pharaoh}" for line, item in zip(lines, record.hypotheses, strict=False)]
    return "\n".join(lines)
