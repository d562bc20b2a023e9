"""What TF-TRT showed of a conversion: the summary table, the report of what was not converted, a drawing of the graph."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tfgraphopt.compat.environment import DRAWING, wanted_report
from tfgraphopt.errors import ConfigError
from tfgraphopt.files import write_atomically
from tfgraphopt.ir import Graph, Node
from tfgraphopt.optimization import Result
from tfgraphopt.report import SegmentReport

_LEAST_LENGTH = 160
_COLUMNS = {
    "TRTEngineOP Name": 20, "Device": 9, "# Nodes": 5, "# Inputs": 9, "# Outputs": 9, "Input DTypes": 12, "Output Dtypes": 12,
    "Input Shapes": 12, "Output Shapes": 12,
}  # fmt: skip
"""Names of columns and their share of the line, in percent."""
_NOT_COUNTED = frozenset({"converted", "simplified", "not a candidate"})


def print_summary(result: Result, line_length: int, detailed: bool, print_fn: Callable[[str], object]) -> None:
    """Print a table of the engines.

    Raises:
        ConfigError: the line is too short (a ValueError).
    """
    if line_length < _LEAST_LENGTH:
        raise ConfigError(f"line_length must be at least {_LEAST_LENGTH}, not {line_length}")
    widths = [line_length * share // 100 for share in _COLUMNS.values()]
    segments = [s for s in result.report.segments.values() if s.status != "build failed"]
    print_fn(_row(list(_COLUMNS), widths))
    print_fn("=" * line_length)
    for segment in segments:
        print_fn(_row(_fields(segment, result.module.main), widths))
        if detailed:
            print_fn("")
            for op, count in segment.ops.items():
                print_fn(f"\t- {op}: {count}x")
            print_fn("\n" + "-" * 40 + "\n")
    inside = sum(s.nodes for s in segments)
    total = inside + sum(n.name not in result.report.segments for n in result.module.main)
    print_fn("=" * line_length)
    print_fn(f"[*] Total number of TensorRT engines: {len(segments)}")
    print_fn(f"[*] % of OPs Converted: {100 * inside / max(total, 1):.2f}% [{inside}/{total}]")


def _fields(segment: SegmentReport, graph: Graph) -> list[str]:
    node = graph.find(segment.name)
    if node is None:
        return [
            segment.name,
            "",
            str(segment.nodes),
            str(len(segment.inputs)),
            str(len(segment.outputs)),
            "",
            "",
            "",
            "",
        ]
    types = [[v.dtype.tf_name for v in values] for values in (node.inputs, node.outputs)]
    shapes = [[_shape(v.shape.dims) for v in values] for values in (node.inputs, node.outputs)]
    counts = [str(len(node.inputs)), str(len(node.outputs))]
    listed = [f"[{', '.join(items)}]" for items in (*types, *shapes)]
    return [segment.name, node.device.rpartition("/")[2], str(segment.nodes), *counts, *listed]


def _shape(dims: Sequence[int | None] | None) -> str:
    return "?" if dims is None else "(" + ", ".join("-1" if d is None else str(d) for d in dims) + ")"


def _row(fields: Sequence[str], widths: Sequence[int]) -> str:
    """Fields cut to their columns, the last character of each a space."""
    cells = []
    for text, width in zip(fields, widths, strict=True):
        room = width - 1
        cells.append((text if len(text) <= room else text[: room - 3] + "...").ljust(width))
    return "".join(cells).rstrip()


def show_rejections(result: Result, print_fn: Callable[[str], object] = print) -> None:
    """What TF_TRT_SHOW_DETAILED_REPORT asks for: op types that stay in TensorFlow, with counts and reasons; or that as a CSV file."""
    wanted = wanted_report()
    if not wanted:
        return
    reasons = Counter(
        (v.op, v.reason or v.status) for v in result.report.verdicts.values() if v.status not in _NOT_COUNTED
    )
    if not wanted.isdigit():
        write_atomically(Path(wanted), _table(reasons).encode())
        return
    print_fn("TensorRT unsupported/non-converted OP Report:")
    by_op = Counter({op: 0 for op, _ in reasons})
    for (op, _), count in reasons.items():
        by_op[op] += count
    for op, count in by_op.most_common():
        print_fn(f"\t- {op} -> {count}x")
        for (of, reason), times in reasons.most_common():
            if of == op:
                print_fn(f"\t\t- [Count: {times}x] {reason}")
    print_fn(f"\t- Total nonconverted OPs: {sum(by_op.values())}")
    print_fn(f"\t- Total nonconverted OP Types: {len(by_op)}")


def _table(reasons: Mapping[tuple[str, str], int]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="|")
    writer.writerow(["OP Name", "Reason", "Count"])
    writer.writerows([op, " ".join(reason.split()), count] for (op, reason), count in reasons.items())
    return text.getvalue()


def draw(result: Result) -> None:
    """Write the converted graph in Graphviz' language to where TF_TRT_EXPORT_GRAPH_VIZ_PATH says, if it does."""
    path = os.environ.get(DRAWING)
    if path:
        write_atomically(Path(path), dot(result.module.main).encode())


def dot(graph: Graph) -> str:
    """A graph in Graphviz' language: engines are coloured, control edges dashed."""
    lines = ["digraph tensorflow_graph {"]
    for node in graph:
        colour = ', style=filled, fillcolor="palegreen"' if node.op == "TRTEngineOp" else ""
        lines.append(f'  "{node.name}" [label="{node.name}\\n{node.op}"{colour}];')
        lines += [f'  "{source}" -> "{node.name}"{style};' for source, style in _edges(node)]
    return "\n".join([*lines, "}"]) + "\n"


def _edges(node: Node) -> list[tuple[str, str]]:
    data = [(v.producer.name if v.producer else v.name, "") for v in node.inputs]
    return data + [(c.name, " [style=dashed]") for c in node.control]
