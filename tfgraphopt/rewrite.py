"""Rewrite rules: what to look for and what to put there, both written as ordinary Python.

    class MergeTransposes(Pattern):
        '''Two transposes in a row are one.'''
        name = "merge-transposes"
        host = "canonicalize"

        def pattern(self, op, x, first: Tensor, second: Tensor):
            return op.Transpose(op.Transpose(x, first), second)

        def rewrite(self, op, m):
            return op.Transpose(m.x, m.first.numpy()[m.second.numpy()])

A rule refuses by ``raise NoMatch(reason)``; nothing has been touched then, because a rewrite writes a draft that is put into the
graph only when it is complete.
"""

from __future__ import annotations

import inspect
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import attrs

from tfgraphopt.draft import Draft
from tfgraphopt.errors import PipelineError
from tfgraphopt.ir import Graph, Node, Tensor, TensorType, Value
from tfgraphopt.ir.core import CONSTANT_OPS
from tfgraphopt.matching import Capture, Compiled, Match, NoMatch, PatternOps, Search, compile_pattern

__all__ = [
    "Applied", "Budget", "Draft", "Explanation", "Match", "NoMatch", "Pattern", "PatternOps", "RewriteLog", "apply_patterns",
    "explain_rule",
]  # fmt: skip


@attrs.frozen(slots=True)
class Pattern:
    """One rewrite rule; subclass it as a frozen attrs class whose fields are its options.

    Class attributes:
        name: kebab-case, unique.
        host: the pass that applies it.
    """

    name: ClassVar[str] = ""
    host: ClassVar[str] = ""

    def pattern(self, op: PatternOps, *args: Any, **kwargs: Any) -> Any:
        """What to look for: a node pattern, or a tuple of them when several results are replaced.

        Every further parameter is a capture; annotated ``Tensor`` it matches constants only.
        """
        raise NotImplementedError(f"rule {self.name!r} has no pattern")

    def rewrite(self, op: Draft, m: Match) -> Any:
        """What to put there: a value (or one for every replaced result). Raises NoMatch to refuse."""
        raise NotImplementedError(f"rule {self.name!r} has no rewrite")

    def compiled(self) -> Compiled:
        """The pattern as a graph of terms."""
        parameters = list(inspect.signature(self.pattern).parameters.values())[1:]
        return compile_pattern(self.pattern, [Capture(p.name, _is_constant(p.annotation)) for p in parameters])


def _is_constant(annotation: object) -> bool:
    return annotation is Tensor or (isinstance(annotation, str) and annotation.rpartition(".")[2] == "Tensor")


# -- what happened -------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Applied:
    """One rewrite that was done: names of the nodes it made and removed, and of the user's nodes it is about."""

    rule: str
    graph: str
    root: str
    made: tuple[str, ...]
    removed: tuple[str, ...]
    origin: tuple[str, ...]


@attrs.define(slots=True)
class RewriteLog:
    """What rules did, in order, and where a rule that fitted refused, with its last reason."""

    applied: list[Applied] = attrs.field(factory=list)
    refused: dict[tuple[str, str, str], str] = attrs.field(factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """How often each rule was applied."""
        return Counter(a.rule for a in self.applied)

    def extend(self, other: RewriteLog) -> None:
        """Append another log."""
        self.applied += other.applied
        self.refused.update(other.refused)


@attrs.frozen(slots=True)
class Explanation:
    """Why a rule fires or does not at one node: it fitted ``matched`` of ``size`` nodes, then ``reason``."""

    node: str
    op: str
    fires: bool
    reason: str
    matched: int
    size: int
    origin: tuple[str, ...] = ()


class Budget(Protocol):
    """Decides about single rewrites, one by one in a fixed order (bisection, limits)."""

    def allows(self, rule: Pattern, graph: Graph, node: Node) -> bool:
        """Whether ``rule`` may be applied at ``node``; asked once for every rewrite that is about to be done."""


# -- one rewrite ---------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True, eq=False)
class _Plan:
    """A complete rewrite that has not been done yet."""

    rule: Pattern
    match: Match
    old: tuple[Value, ...]
    new: tuple[Value, ...]
    nodes: tuple[Node, ...]

    @property
    def place(self) -> Node:
        return min((v.producer for v in self.old if v.producer is not None), key=lambda n: n.position)

    @property
    def control(self) -> tuple[Node, ...]:
        """What the nodes that go away waited for."""
        stay = {v.producer for v in self.new}
        nodes = [n for n in self.match.nodes if n not in stay]
        return tuple(dict.fromkeys(c for n in nodes for c in n.control if c not in self.match.nodes))

    def commit(self, graph: Graph) -> Applied:
        origin = tuple(dict.fromkeys(o for n in self.match.nodes for o in (n.origin or (n.name,))))
        mapped = self._insert(graph, origin)
        for old, new in zip(self.old, self.new, strict=True):
            real = mapped.get(new, new)
            real.set_type(_merged(old.type, real.type))
            old.replace_uses(real)
        made = tuple(dict.fromkeys(v.producer.name for v in mapped.values() if v.producer is not None))
        removed = tuple(_erase(graph, self.match.nodes))
        return Applied(self.rule.name, graph.name, self.match.root.name, made, removed, origin)

    def _insert(self, graph: Graph, origin: tuple[str, ...]) -> dict[Value, Value]:
        place, root = self.place, self.match.root
        control = self.control
        mapped: dict[Value, Value] = {}
        for node in self.nodes:
            real = graph.add(
                node.op, [mapped.get(v, v) for v in node.inputs], node.attrs, name=_name(root, node), control=control,
                before=place, device=root.device, origin=origin, types=[v.type for v in node.outputs],
            )  # fmt: skip
            mapped.update(zip(node.outputs, real.outputs, strict=True))
        return mapped


def _merged(old: TensorType, new: TensorType) -> TensorType:
    return new.with_shape(new.shape.merge(old.shape)) if new.shape.compatible(old.shape) else new


def _name(root: Node, node: Node) -> str:
    suffix = "/" + node.op.rpartition(".")[2].lower()
    return root.name if root.name.endswith(suffix) else root.name + suffix


def _erase(graph: Graph, nodes: Sequence[Node]) -> Iterable[str]:
    """Erase what nothing reads any more: matched nodes, last first, and constants that only they read.

    Who waits for such a node by a control edge waits for its operands instead; otherwise the node would match again for ever.
    """
    for node in reversed(nodes):
        if not any(v.uses for v in node.outputs) and not graph.keeps(node):
            constants = dict.fromkeys(v.producer for v in node.inputs)
            yield node.name
            graph.erase(node)
            for constant in constants:
                if constant is not None and constant.op in CONSTANT_OPS and not constant.has_users:
                    yield constant.name
                    graph.erase(constant)


def _plan(rule: Pattern, compiled: Compiled, graph: Graph, match: Match) -> _Plan:
    """Everything that the rule would do at ``match``; NoMatch with the reason when it must not or does not want to."""
    _check_nodes(graph, match)
    draft = Draft(graph)
    written = _call(rule, draft, match)
    old, new = _results(rule, compiled, draft, match, written)
    _check_closed(match, old)
    _check_types(rule, old, new)
    live = _live(draft.nodes, new)
    plan = _Plan(rule, match, old, new, live)
    _check_place(plan)
    return plan


def _call(rule: Pattern, draft: Draft, match: Match) -> Any:
    try:
        return rule.rewrite(draft, match)
    except NoMatch:
        raise
    except Exception as error:
        error.add_note(f"while rule {rule.name!r} rewrote {match.root.op} node {match.root.name!r}")
        raise


def _check_nodes(graph: Graph, match: Match) -> None:
    for node in match.nodes:
        if node.definition is not None and node.definition.stateful:
            raise NoMatch(f"{node.op} {node.name!r} is stateful")
        if any(kept is node for kept in graph.keep.values()):
            raise NoMatch(f"{node.op} {node.name!r} is kept by name")
    devices = {n.device for n in match.nodes if n.device}
    if len(devices) > 1:
        raise NoMatch(f"its nodes are on different devices: {', '.join(sorted(devices))}")


def _results(
    rule: Pattern, compiled: Compiled, draft: Draft, match: Match, written: Any
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    several = isinstance(written, tuple | list)
    new = [v if isinstance(v, Value) else draft.const(v) for v in (written if several else (written,))]
    one_node = compiled.whole and several
    old = list(match.root.outputs) if one_node else [match.by_pattern[p].outputs[i] for p, i in compiled.roots]
    if len(old) != len(new):
        raise TypeError(f"rule {rule.name!r} gave {len(new)} results for {len(old)} at {match.root.name!r}")
    return tuple(old), tuple(new)


def _check_closed(match: Match, replaced: Sequence[Value]) -> None:
    """Nobody else may read what disappears."""
    inside = set(match.nodes)
    for pattern, node in match.by_pattern.items():
        if pattern.is_shared:
            continue
        for value in node.outputs:
            if value in replaced:
                continue
            others = [u for u in value.users if u not in inside]
            if others or value.is_output:
                reader = f"{others[0].op} {others[0].name!r}" if others else "the graph's outputs"
                raise NoMatch(f"{node.op} {node.name!r} is also read by {reader}")


def _check_types(rule: Pattern, old: Sequence[Value], new: Sequence[Value]) -> None:
    for one, other in zip(old, new, strict=True):
        if one.dtype is not other.dtype or not one.shape.compatible(other.shape):
            raise TypeError(f"rule {rule.name!r} would replace %{one.name}: {one.type} by {other.type}")


def _live(nodes: Sequence[Node], results: Sequence[Value]) -> tuple[Node, ...]:
    needed = {v.producer for v in results}
    for node in reversed(nodes):
        if node in needed:
            needed |= {v.producer for v in node.inputs}
    return tuple(n for n in nodes if n in needed)


def _check_place(plan: _Plan) -> None:
    """Operands and control edges must be there before the first result that is replaced."""
    place, fresh = plan.place, set(plan.nodes)
    control = plan.control
    if control and any(v.producer not in fresh for v in plan.new):
        raise NoMatch(f"it waits for {control[0].name!r} by a control edge, and no new node could take the edge over")
    needed = [v.producer for n in plan.nodes for v in n.inputs] + [v.producer for v in plan.new] + list(control)
    for node in needed:
        if node is not None and node not in fresh and node.position >= place.position:
            raise NoMatch(f"{node.op} {node.name!r} comes only after {place.name!r}, which is replaced")


# -- the driver ----------------------------------------------------------------------------------------------------------


@attrs.define(slots=True, eq=False)
class _Driver:
    """Applies rules until none fires any more; looks again only where something changed."""

    graph: Graph
    rules: Mapping[str, Sequence[tuple[Pattern, Compiled]]]
    budget: Budget | None
    log: RewriteLog
    reach: int
    queue: deque[Node] = attrs.field(factory=deque)
    waiting: set[Node] = attrs.field(factory=set)

    def run(self) -> None:
        for node in self.graph:
            self._push(node)
        limit = len(self.log.applied) + 1000 + 50 * len(self.graph)
        self.graph.attach(self)
        try:
            while self.queue:
                node = self.queue.popleft()
                self.waiting.discard(node)
                if not node.is_erased:
                    self._visit(node)
                if len(self.log.applied) > limit:
                    self._give_up()
        finally:
            self.graph.detach(self)

    def _visit(self, node: Node) -> None:
        for rule, compiled in self.rules.get(node.op, ()):
            if self._try(rule, compiled, node):
                return

    def _try(self, rule: Pattern, compiled: Compiled, node: Node) -> bool:
        for match in compiled.matches(self.graph, node, Search()):
            try:
                plan = _plan(rule, compiled, self.graph, match)
            except NoMatch as refusal:
                self.log.refused[rule.name, self.graph.name, node.name] = refusal.reason
                continue
            if self.budget is not None and not self.budget.allows(rule, self.graph, node):
                return False
            self.log.refused.pop((rule.name, self.graph.name, node.name), None)
            self.log.applied.append(plan.commit(self.graph))
            if not node.is_erased:
                self._push(node)
            return True
        return False

    def _give_up(self) -> None:
        last = Counter(a.rule for a in self.log.applied[-100:])
        raise PipelineError(
            f"rewriting {self.graph.name!r} does not come to an end", where=[a.root for a in self.log.applied[-3:]],
            why=f"the last rewrites are {', '.join(f'{n} times {rule}' for rule, n in last.items())}",
            hint="two rules undo each other, or one makes what it matches; switch one of them off",
        )  # fmt: skip

    def _push(self, node: Node) -> None:
        if node.op in self.rules and node not in self.waiting:
            self.waiting.add(node)
            self.queue.append(node)

    def _wake(self, start: Node) -> None:
        """Look again at every root whose match could reach ``start``."""
        level, seen = [start], {start}
        for _ in range(self.reach + 1):
            for node in level:
                self._push(node)
            level = [u for node in level for u in node.users if u not in seen]
            seen.update(level)

    def added(self, node: Node) -> None:
        self._wake(node)

    def changed(self, node: Node) -> None:
        self._wake(node)

    def erased(self, node: Node) -> None:
        for value in node.inputs:
            if value.producer is not None:
                self._wake(value.producer)


def apply_patterns(
    graph: Graph, patterns: Iterable[Pattern], budget: Budget | None = None, log: RewriteLog | None = None
) -> RewriteLog:
    """Apply rules until none of them fires; larger patterns first, then in the order given.

    Args:
        graph: changed in place, any dialect.
        budget: asked before every single rewrite.
        log: appended to and returned; by default a new one.

    Raises:
        PipelineError: the rules never come to an end; names those that were applied last.
        TypeError: a rule replaces a value by one of another type.
    """
    log = RewriteLog() if log is None else log
    compiled = sorted(((p, p.compiled()) for p in patterns), key=lambda pair: -pair[1].size)
    rules: dict[str, list[tuple[Pattern, Compiled]]] = {}
    for rule, pattern in compiled:
        for op in pattern.ops:
            rules.setdefault(op, []).append((rule, pattern))
    if rules:
        _Driver(graph, rules, budget, log, max(p.depth for _, p in compiled)).run()
    return log


def explain_rule(graph: Graph, pattern: Pattern) -> list[Explanation]:
    """For every node that could be the rule's root, whether it fires there and if not, why. Changes nothing.

    Sorted: where it fires, then the nearest misses.
    """
    compiled = pattern.compiled()
    found = [_explain(graph, pattern, compiled, node) for node in graph if node.op in compiled.ops]
    return sorted(found, key=lambda e: (not e.fires, -e.matched))


def _explain(graph: Graph, rule: Pattern, compiled: Compiled, node: Node) -> Explanation:
    search, refusal = Search(explain=True), ""
    for match in compiled.matches(graph, node, search):
        try:
            plan = _plan(rule, compiled, graph, match)
        except NoMatch as error:
            refusal = refusal or error.reason
            continue
        made = ", ".join(n.op for n in plan.nodes) or f"%{plan.new[0].name}"
        return Explanation(node.name, node.op, True, f"becomes {made}", len(match.nodes), compiled.size, node.origin)
    reached = compiled.size if refusal else max(search.far, 0)
    return Explanation(node.name, node.op, False, refusal or search.reason, reached, compiled.size, node.origin)


REWRITE_BUDGET = "rewrite-budget"
REWRITE_LOG = "rewrite-log"


def hosted(patterns: Iterable[Any], host: str) -> list[Pattern]:
    """The rules among ``patterns`` that name ``host`` as their pass, as instances."""
    rules = [p() if isinstance(p, type) else p for p in patterns]
    return [p for p in rules if isinstance(p, Pattern) and p.host == host]
