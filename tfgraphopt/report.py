"""What an optimisation did, as data: verdicts on nodes, segments, passes, plugins. Text and pages are made from it."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen(slots=True)
class Verdict:
    """What became of one node of the caller's graph, and why.

    ``status`` is one of converted, vetoed, no converter, refused, segment too small, segment dropped, build failed, not a
    candidate, simplified; ``segment`` is the engine's name when it was converted. ``origin`` are the caller's nodes it came from.
    """

    node: str
    op: str
    status: str
    reason: str = ""
    segment: str = ""
    converter: str = ""
    graph: str = "main"
    origin: tuple[str, ...] = ()


@attrs.define(slots=True)
class SegmentReport:
    """One engine: what went in, what was built, what it cost."""

    name: str
    nodes: int
    ops: dict[str, int]
    inputs: list[dict[str, Any]] = attrs.field(factory=list)
    outputs: list[dict[str, Any]] = attrs.field(factory=list)
    layers: dict[str, int] = attrs.field(factory=dict)
    transposes: int | None = None
    engine_bytes: int = 0
    engine_digest: str = ""
    build_seconds: float = 0.0
    cached: bool = False
    engine: str = ""
    status: str = "segmented"
    reason: str = ""
    details: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(slots=True)
class Advice:
    """What the caller could do for a better result, with what it would change, computed and not guessed.

    Attributes:
        kind: kebab-case word for programs (``raise-minimum-segment-size``, ``blocked-by-node``...).
        title: one sentence for people.
        action: what to do.
        nodes: names of the caller's nodes that it is about.
        engines_before, engines_after: how many engines there are now, and how many there would be.
        nodes_before, nodes_after: how many nodes that do work are in engines now, and how many would be.
    """

    kind: str
    title: str
    action: str
    nodes: tuple[str, ...] = ()
    engines_before: int = 0
    engines_after: int = 0
    nodes_before: int = 0
    nodes_after: int = 0


@attrs.frozen(slots=True)
class PassTiming:
    """Seconds that one pass took on one graph."""

    step: str
    graph: str
    seconds: float
    nodes_before: int
    nodes_after: int


@attrs.define(slots=True)
class Report:
    """Everything about one optimisation. :meth:`to_json` is its stable form."""

    nodes: int = 0
    verdicts: dict[str, Verdict] = attrs.field(factory=dict)
    segments: dict[str, SegmentReport] = attrs.field(factory=dict)
    timings: list[PassTiming] = attrs.field(factory=list)
    pipeline: str = ""
    plugins: list[str] = attrs.field(factory=list)
    messages: list[str] = attrs.field(factory=list)
    advice: list[Advice] = attrs.field(factory=list)
    seconds: float = 0.0

    def say(self, message: str) -> None:
        """Tell the user something once."""
        if message not in self.messages:
            self.messages.append(message)

    @property
    def converted(self) -> int:
        """How many nodes of the caller's graph are in engines."""
        return sum(v.status == "converted" for v in self.verdicts.values())

    @property
    def build_seconds(self) -> float:
        """Seconds that this run spent in engine builders (engines from the cache cost none)."""
        return sum(s.build_seconds for s in self.segments.values() if not s.cached)

    def to_json(self) -> dict[str, Any]:
        """A tree of plain Python values, with a format number."""
        tree = attrs.asdict(self)
        tree["verdicts"] = list(tree["verdicts"].values())
        tree["segments"] = list(tree["segments"].values())
        return {"format": 1, **tree}
