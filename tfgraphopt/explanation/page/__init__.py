"""The page: one HTML file that shows an explanation and needs nothing else, not even a network.

Graphs are drawn by sigma.js 3 on graphology (both MIT, in ``vendor/`` with their licences): WebGL draws tens of thousands of nodes and
edges smoothly where canvas and SVG libraries stall. Positions are computed here, in Python (:mod:`tfgraphopt.explanation.layout`), so the
browser does no layout. The data lies in the page as gzipped JSON.
"""

from __future__ import annotations

import base64
import gzip
import html
import itertools
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.explanation.explain import Explanation
from tfgraphopt.explanation.layout import layered
from tfgraphopt.explanation.views import View
from tfgraphopt.files import write_atomically
from tfgraphopt.instruments.journal import Event

VENDORED = ("graphology-0.26.0.umd.min.js", "sigma-3.0.3.min.js")


def write_page(explanation: Explanation, path: Path, title: str = "") -> None:
    """Write the page to ``path``; ``title`` is what the model is called."""
    write_atomically(Path(path), page(explanation, title or "model").encode())


def page(explanation: Explanation, title: str) -> str:
    """The page as text."""
    here = files(__name__)
    parts = {
        "title": html.escape(title),
        "style": (here / "page.css").read_text(),
        "libraries": "\n".join(f"<script>{_without_map((here / 'vendor' / n).read_text())}</script>" for n in VENDORED),
        "script": (here / "page.js").read_text(),
        "data": _packed(payload(explanation, title)),
    }
    text = (here / "page.html").read_text()
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    return text


def _without_map(script: str) -> str:
    """A library without the reference to its source map, which a browser would look for."""
    return "\n".join(line for line in script.splitlines() if not line.startswith("//# sourceMappingURL="))


def _packed(tree: Any) -> str:
    data = json.dumps(tree, separators=(",", ":"), allow_nan=False, default=str).encode()
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


# -- data ----------------------------------------------------------------------------------------------------------------


@attrs.define(slots=True)
class _Texts:
    """Texts by number: each is in the page once."""

    numbers: dict[str, int] = attrs.field(factory=dict)

    def of(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))

    def all_of(self, texts: Iterable[str]) -> list[int]:
        return [self.of(t) for t in texts]


def payload(explanation: Explanation, title: str) -> dict[str, Any]:
    """What the page's script reads; nodes are columns of numbers, texts are in one table."""
    texts = _Texts()
    report = explanation.report
    views = [_view(view, explanation, texts) for view in explanation.views]
    tree = {
        "title": title,
        "asked": _asked(explanation),
        "segments": [_segment(s) for s in report.segments.values()],
        "advice": [attrs.asdict(a) for a in report.advice],
        "boundaries": [attrs.asdict(b) for b in explanation.boundaries],
        "timings": _timings(explanation),
        "messages": report.messages,
        "plugins": report.plugins,
        "pipeline": report.pipeline,
        "seconds": report.seconds,
        "buildSeconds": report.build_seconds,
        "views": views,
    }
    return {**tree, "texts": list(texts.numbers)}


def _asked(explanation: Explanation) -> dict[str, str]:
    config = explanation.config
    found = {
        "engine": config.engine,
        "precision": config.precision,
        "minimum segment size": config.minimum_segment_size,
    }
    for name, ranges in config.input_shapes.items():
        found[name] = "; ".join(":".join("x".join(map(str, p)) for p in r.points) for r in ranges)
    if not config.input_shapes:
        found["max batch size"] = config.max_batch_size
    return {k: str(v) for k, v in found.items()}


def _segment(segment: Any) -> dict[str, Any]:
    tree: dict[str, Any] = attrs.asdict(segment)
    details = tree.pop("details")
    return {**tree, "tables": [d["table"] for d in details.values() if isinstance(d, dict) and "table" in d]}


def _timings(explanation: Explanation) -> list[dict[str, Any]]:
    """Seconds and node counts by pass, in order, runs of one pass on several graphs together."""
    rows: dict[str, dict[str, Any]] = {}
    for each in explanation.report.timings:
        row = rows.setdefault(each.step, {"step": each.step, "seconds": 0.0, "graphs": 0, "before": 0, "after": 0})
        row["seconds"] += each.seconds
        row["graphs"] += 1
        row["before"] += each.nodes_before
        row["after"] += each.nodes_after
    return list(rows.values())


def _view(view: View, explanation: Explanation, texts: _Texts) -> dict[str, Any]:
    nodes = view.nodes
    drawing = layered(len(nodes), view.edges, [n.constant for n in nodes])
    verdicts = [n.verdict for n in nodes]
    control = {(s, i) for i, n in enumerate(nodes) for s in n.control}
    return {
        "key": view.key, "title": view.title, "kind": view.kind, "function": view.function,
        "runs": {i: list(n.functions) for i, n in enumerate(nodes) if n.functions},
        "name": [n.name for n in nodes],
        "op": texts.all_of(n.op for n in nodes),
        "x": drawing.x.tolist(), "y": drawing.y.tolist(),
        "segment": texts.all_of(n.segment for n in nodes),
        "small": [int(n.constant) for n in nodes],
        "types": [texts.all_of(n.types) for n in nodes],
        "device": texts.all_of(n.device for n in nodes),
        "status": texts.all_of(v.status if v else "" for v in verdicts),
        "reason": texts.all_of(v.reason if v else "" for v in verdicts),
        "converter": texts.all_of(v.converter if v else "" for v in verdicts),
        "origin": [texts.all_of(n.origin) if view.kind != "before" else [] for n in nodes],
        "history": [texts.all_of(h) for h in _histories(view, explanation)],
        "edges": [part for s, t in view.edges for part in (s, t, int((s, t) in control))],
    }  # fmt: skip


MOST_STEPS, MOST_NAMES = 30, 4


def _histories(view: View, explanation: Explanation) -> list[Sequence[str]]:
    """What passes did to each of the caller's nodes and to what came of it, a line a pass."""
    if view.kind != "before" or view.function:
        return [() for _ in view.nodes]
    return [_history(explanation.provenance.get(node.name, ())) for node in view.nodes]


def _history(events: Sequence[Event]) -> list[str]:
    """Events that follow one another in one pass (and rule) in one line."""
    lines = []
    for (step, rule), found in itertools.groupby(events, key=lambda e: (e.step, e.rule)):
        done = list(dict.fromkeys(f"{e.kind} {e.op} {e.node}" + _place(e.graph) for e in found))
        more = f" and {len(done) - MOST_NAMES} more" if len(done) > MOST_NAMES else ""
        lines.append(f"{step}{f' (rule {rule})' if rule else ''}: {', '.join(done[:MOST_NAMES])}{more}")
    lines = list(dict.fromkeys(lines))
    return lines[:MOST_STEPS] + ([f"and {len(lines) - MOST_STEPS} more passes"] if len(lines) > MOST_STEPS else [])


def _place(graph: str) -> str:
    return "" if graph == "main" else f" in {graph}"
