"""Advice on segmentation: the graph is segmented again with other sizes, and as if blockers could be converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context
from tfgraphopt.report import Advice, Verdict
from tfgraphopt.transforms.identity import FORWARDING
from tfgraphopt_trt.clustering import Label, clusters
from tfgraphopt_trt.profile_points import is_free
from tfgraphopt_trt.segment import Segment, no_work
from tfgraphopt_trt.support import Support

KEPT_SHARE = 0.95
"""A larger minimum is worth it while at least this share of the nodes stays in engines."""
WORK_BUDGET = 150_000
"""Nodes to go through when blockers are tried one by one: bounds the time on large graphs."""
MOST = 12


def advise(step: Segment, graph: Graph, ctx: Context) -> list[Advice]:
    """What would make fewer or larger engines, the greatest gain first."""
    trial = Trial.of(step, graph, ctx)
    found = [*_on_sizes(trial), *_on_blockers(trial)]
    return sorted(found, key=lambda a: (a.nodes_before - a.nodes_after, a.engines_after - a.engines_before))


@attrs.frozen(slots=True)
class Outcome:
    """What a segmentation comes to: engines, and nodes that do work inside them."""

    engines: int
    nodes: int


@attrs.frozen(slots=True)
class Trial:
    """Segments one graph again and again, with changed labels or sizes; the graph itself stays as it is."""

    graph: Graph
    verdicts: Mapping[Node, Verdict]
    label: Mapping[Node, Label]
    sizes: Sequence[int]
    least: int

    @classmethod
    def of(cls, step: Segment, graph: Graph, ctx: Context) -> Trial:
        """Judge every node as ``step`` will."""
        verdicts = Support.of(ctx).judge(graph)
        label = {n: n.device if v.status == "converted" else None for n, v in verdicts.items()}
        least = ctx.config.minimum_segment_size if step.min_size is None else step.min_size
        return cls(graph, verdicts, label, _sizes(graph, label), least)

    def with_minimum(self, least: int) -> Outcome:
        """As it would be with another minimum_segment_size."""
        return _outcome(self.sizes, least)

    def if_converted(self, nodes: Iterable[Node]) -> Outcome:
        """As it would be if engines could compute ``nodes``."""
        label = {**self.label, **{n: n.device for n in nodes}}
        return _outcome(_sizes(self.graph, label), self.least)

    @property
    def now(self) -> Outcome:
        """As it is."""
        return self.with_minimum(self.least)


def _sizes(graph: Graph, label: Mapping[Node, Label]) -> list[int]:
    """The number of working nodes of every segment that computes numbers."""
    groups = clusters(graph, label, is_free)
    return [sum(n.op not in FORWARDING for n in g) for g in groups if no_work(g) is None]


def _outcome(sizes: Sequence[int], least: int) -> Outcome:
    kept = [s for s in sizes if s >= least]
    return Outcome(len(kept), sum(kept))


# -- sizes ---------------------------------------------------------------------------------------------------------------


def _on_sizes(trial: Trial) -> Iterator[Advice]:
    now = trial.now
    larger = _larger_minimum(trial, now)
    if larger is not None:
        then = trial.with_minimum(larger)
        share = f"{100 * then.nodes / now.nodes:.0f} % of the nodes stay in engines"
        yield _advice(
            "raise-minimum-segment-size",
            f"raise minimum_segment_size to {larger}: {_engines(then)} instead of {now.engines}; {share}",
            f"pass minimum_segment_size={larger} (--min-segment-size {larger})", (), now, then,
        )  # fmt: skip
    small = [s for s in trial.sizes if s < trial.least]
    then = trial.with_minimum(1)
    if small and then.nodes > now.nodes:
        least = min(small)
        yield _advice(
            "lower-minimum-segment-size",
            f"{_count(len(small), 'segment')} of fewer than {trial.least} nodes stay in TensorFlow: "
            f"with minimum_segment_size={least} there are {_engines(then)}, and {then.nodes - now.nodes} more nodes inside",
            f"pass minimum_segment_size={least} (--min-segment-size {least}), and measure: small engines may cost more than they "
            "save", (), now, then,
        )  # fmt: skip


def _larger_minimum(trial: Trial, now: Outcome) -> int | None:
    """The largest sensible minimum, or None: it must leave fewer engines and nearly all nodes."""
    kept = sorted(s for s in trial.sizes if s >= trial.least)
    found = None
    for size in dict.fromkeys(kept[:-1]):
        then = trial.with_minimum(size + 1)
        if 0 < then.engines < now.engines and then.nodes >= KEPT_SHARE * now.nodes:
            found = size + 1
    return found


# -- blockers ------------------------------------------------------------------------------------------------------------


def _on_blockers(trial: Trial) -> Iterator[Advice]:
    blockers = {n for n, label in trial.label.items() if label is None and _could_be(trial.verdicts[n])}
    tries = max(4, WORK_BUDGET // max(1, len(trial.graph)))
    now = trial.now
    found: list[Advice] = []
    regions = sorted(_regions(trial.graph, blockers), key=lambda r: _separates(r, trial.label), reverse=True)
    for region in regions[:tries]:
        then = trial.if_converted(region)
        if _is_better(then, now, len(region)):
            found.append(_of_region(trial, region, now, then))
    found += _on_ops(trial, blockers, now, tries)
    yield from sorted(found, key=lambda a: (a.nodes_before - a.nodes_after, a.engines_after))[:MOST]


def _could_be(verdict: Verdict) -> bool:
    return verdict.status in ("no converter", "refused", "vetoed")


def _is_better(then: Outcome, now: Outcome, given: int) -> bool:
    """Fewer engines for no fewer nodes, or more of the others inside than the nodes that were made convertible."""
    fewer = then.engines < now.engines and then.nodes >= now.nodes
    return fewer or then.nodes - now.nodes > given


def _regions(graph: Graph, blockers: set[Node]) -> list[list[Node]]:
    """Connected groups of blockers, in graph order."""
    seen: set[Node] = set()
    regions = []
    for node in graph:
        if node not in blockers or node in seen:
            continue
        seen.add(node)
        region, stack = [], [node]
        while stack:
            here = stack.pop()
            region.append(here)
            around = [*(v.producer for v in here.inputs), *here.users]
            new = [n for n in around if n is not None and n in blockers and n not in seen]
            seen.update(new)
            stack += new
        regions.append(region)
    return regions


def _separates(region: Sequence[Node], label: Mapping[Node, Label]) -> int:
    """How many convertible nodes are read by, or read, a region: those that it may keep apart."""
    before = {v.producer for n in region for v in n.inputs if v.producer is not None and not is_free(v.producer)}
    after = {u for n in region for u in n.users}
    reads, read = (sum(label[n] is not None for n in side) for side in (before, after))
    return min(reads, read) * (reads + read)


def _of_region(trial: Trial, region: Sequence[Node], now: Outcome, then: Outcome) -> Advice:
    names = tuple(dict.fromkeys(name for n in region for name in n.origin or (n.name,)))
    splits = then.engines < now.engines
    if len(region) == 1:
        who = f"{region[0].op} at {names[0]}"
    else:
        ops = ", ".join(op for op, _ in Counter(n.op for n in region).most_common(4))
        who = f"{len(region)} nodes from {names[0]} on ({ops})"
    effect = f"{'splits the graph' if splits else 'keeps others out'}: were it convertible, {_change(now, then)}"
    effect = (
        effect
        if len(region) == 1
        else effect.replace("splits", "split").replace("keeps", "keep").replace("were it", "were they")
    )
    return _advice("blocked-by-node", f"{who} {effect}", _remedy(trial, region), names, now, then)


def _on_ops(trial: Trial, blockers: set[Node], now: Outcome, tries: int) -> Iterator[Advice]:
    """What one op type costs wherever it occurs; worth saying for ops that occur more than once."""
    by_op: dict[str, list[Node]] = {}
    for node in trial.graph:
        if node in blockers:
            by_op.setdefault(node.op, []).append(node)
    common = sorted(by_op.items(), key=lambda item: len(item[1]), reverse=True)
    for op, nodes in [(o, n) for o, n in common if len(n) > 1][: min(MOST, tries)]:
        then = trial.if_converted(nodes)
        if _is_better(then, now, len(nodes)):
            names = tuple(name for n in nodes for name in n.origin[:1] or (n.name,))
            title = f"{op} ({len(nodes)} nodes) keeps engines apart: were all of them convertible, {_change(now, then)}"
            yield _advice("blocked-by-op", title, _remedy(trial, nodes), names, now, then)


def _remedy(trial: Trial, nodes: Sequence[Node]) -> str:
    statuses = Counter((trial.verdicts[n].status, trial.verdicts[n].reason) for n in nodes)
    (status, reason), _ = statuses.most_common(1)[0]
    return {
        "no converter": "write a converter for it (docs: tutorial/plugin), or move it to the edge of the model",
        "refused": f"its converter refuses it: {reason}; change the model there, or bring a converter that takes it",
        "vetoed": f"it is kept out on purpose: {reason}",
    }[status]


def _change(now: Outcome, then: Outcome) -> str:
    gained = then.nodes - now.nodes
    inside = f", {_count(gained, 'more node')} inside" if gained else ""
    return f"{_engines(then)} instead of {now.engines}{inside}"


def _engines(outcome: Outcome) -> str:
    return _count(outcome.engines, "engine")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _advice(kind: str, title: str, action: str, nodes: tuple[str, ...], now: Outcome, then: Outcome) -> Advice:
    return Advice(kind, title, action, nodes, now.engines, then.engines, now.nodes, then.nodes)
