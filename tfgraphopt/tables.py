"""Reports as text: tables for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from tfgraphopt.report import Report, SegmentReport

if TYPE_CHECKING:
    from tfgraphopt.explanation import Explanation


def segment_table(report: Report) -> Table:
    """One row a segment: nodes, op counts, layers, transposes, engine bytes, build seconds."""
    table = Table(title="segments")
    for name, justify in _SEGMENT_COLUMNS.items():
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name not in ("ops", "status"))
    for segment in report.segments.values():
        table.add_row(*_segment_row(segment))
    return table


_SEGMENT_COLUMNS: dict[str, JustifyMethod] = {
    "segment": "left", "nodes": "right", "ops": "left", "layers": "right", "transposes": "right", "engine": "right",
    "build": "right", "status": "left",
}  # fmt: skip


def _segment_row(segment: SegmentReport) -> tuple[str, ...]:
    ops = Counter(segment.ops).most_common()
    shown = ", ".join(f"{op} {count}" for op, count in ops[:8]) + (f", {len(ops) - 8} more" if len(ops) > 8 else "")
    return (
        segment.name, str(segment.nodes), shown, str(sum(segment.layers.values()) or "-"),
        "-" if segment.transposes is None else str(segment.transposes),
        f"{segment.engine_bytes / 1e6:.2f} MB" if segment.engine_bytes else "-",
        f"{segment.build_seconds:.2f} s" + (" (cached)" if segment.cached else "") if segment.engine_bytes else "-",
        escape(segment.status + (f": {segment.reason.splitlines()[0]}" if segment.reason else "")),
    )  # fmt: skip


def reason_table(report: Report) -> Table:
    """Nodes that stay in TensorFlow, counted by op and reason."""
    table = Table(title="stays in TensorFlow")
    table.add_column("nodes", justify="right")
    for name in ("op", "verdict", "reason"):
        table.add_column(name, overflow="fold")
    rows = Counter(
        (v.op, v.status, v.reason) for v in report.verdicts.values() if v.status not in ("converted", "simplified")
    )
    for (op, status, reason), count in rows.most_common():
        table.add_row(str(count), op, status, escape(reason))
    return table


def verdict_table(report: Report, *, everything: bool = False) -> Table:
    """One row a node: verdict, reason, segment."""
    table = Table(title="nodes" if everything else "nodes that are not in an engine")
    for name in ("node", "op", "verdict", "segment or reason"):
        table.add_column(name, overflow="fold")
    for verdict in report.verdicts.values():
        if everything or verdict.status not in ("converted", "simplified"):
            table.add_row(escape(verdict.node), verdict.op, verdict.status, escape(verdict.segment or verdict.reason))
    return table


def boundary_table(explanation: Explanation) -> Table:
    """One row a tensor that crosses between TensorFlow and an engine, the largest first."""
    table = Table(title="what crosses between TensorFlow and engines")
    for name, justify in (
        ("engine", "left"),
        ("", "left"),
        ("node", "left"),
        ("type", "left"),
        ("bytes", "right"),
        ("other side", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for each in sorted(explanation.boundaries, key=lambda b: -(b.bytes or 0)):
        size = "?" if each.bytes is None else f"{each.bytes:,}"
        others = ", ".join(each.others[:3]) + (f" and {len(each.others) - 3} more" if len(each.others) > 3 else "")
        word = "reads" if each.direction == "in" else "gives"
        table.add_row(each.segment, word, escape(each.node), escape(each.type), size, escape(others))
    return table


def advice_lines(report: Report) -> list[str]:
    """What would make it better, the greatest gain first."""
    return [f"advice: {a.title}\n        {a.action}" for a in report.advice]


def detail_tables(report: Report) -> list[Table]:
    """The tables that plugins have put into the details of segments: mappings with ``table`` (title, columns, rows of texts)."""
    found = [
        d["table"] for s in report.segments.values() for d in s.details.values() if isinstance(d, dict) and "table" in d
    ]
    return [plain_table(t["title"], t["columns"], t["rows"]) for t in found]


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of texts."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def summary_lines(report: Report) -> list[str]:
    """Totals and messages."""
    counts = Counter(v.status for v in report.verdicts.values())
    total = sum(counts.values())
    inside = counts["converted"] + counts["simplified"]
    lines = [
        f"{total} nodes: {counts['converted']} in {len(report.segments)} engines, {counts['simplified']} folded or merged away, "
        f"{total - inside} stay in TensorFlow",
        f"optimiser {report.seconds - report.build_seconds:.1f} s, engine builds {report.build_seconds:.1f} s",
    ]
    return lines + [f"note: {m}" for m in report.messages]
