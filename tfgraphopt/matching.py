"""Patterns over the IR: the terms that a rule is written with, and the search that finds where they fit.

A pattern is a small graph of terms built by calling ops on a :class:`PatternOps`. Matching walks from the root towards the
operands; it backtracks over the operand order of commutative ops and over :meth:`PatternOps.any_of`, and is exponential only in
those.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import EllipsisType
from typing import Any

import attrs

from tfgraphopt.ir import Graph, Node, Tensor, Value, constant_of


class NoMatch(Exception):
    """A rule refuses; the text says why. It never leaves the rewriting machinery."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# -- terms ---------------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True, eq=False)
class Capture:
    """Any value, remembered under ``name``; with ``constant``, only a constant. The same name twice means the same value."""

    name: str
    constant: bool = False


@attrs.frozen(slots=True, eq=False)
class Literal:
    """A constant all of whose elements are ``value``, up to the relative tolerance ``rtol``."""

    value: float
    rtol: float = 0.0


@attrs.frozen(slots=True, eq=False)
class NodePattern:
    """A node of one of ``ops`` whose operands match ``operands`` and whose attributes match ``attrs``.

    As an operand it stands for the node's first result; ``pattern[i]`` stands for result ``i``.
    """

    ops: tuple[str, ...]
    operands: tuple[Term, ...]
    attrs: Mapping[str, Any]
    is_open: bool = False
    label: str = ""
    is_shared: bool = False
    is_unordered: bool = False

    def named(self, label: str) -> NodePattern:
        """The same, with the matched node available to the rewrite as ``m.<label>``."""
        return attrs.evolve(self, label=label)

    def shared(self) -> NodePattern:
        """The same, but other nodes may read its results too; it then stays in the graph beside the replacement."""
        return attrs.evolve(self, is_shared=True)

    def unordered(self) -> NodePattern:
        """The same with its two operands in any order, for ops that are not declared commutative."""
        return attrs.evolve(self, is_unordered=True)

    def __getitem__(self, index: int) -> Result:
        return Result(self, index)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("index a pattern's results; how many there are is not known here")

    @property
    def depth(self) -> int:
        """The longest chain of nodes from here to a leaf."""
        return 1 + max((_depth(t) for t in self.operands), default=0)

    @property
    def size(self) -> int:
        """The number of nodes that the pattern stands for (of the smallest alternatives)."""
        return 1 + sum(_size(t) for t in self.operands)


@attrs.frozen(slots=True, eq=False)
class Result:
    """Result ``index`` of a node."""

    node: NodePattern
    index: int


@attrs.frozen(slots=True, eq=False)
class AnyOf:
    """The first of several terms that fits; captures of the others are None in the match."""

    terms: tuple[Term, ...]


Term = Capture | Literal | NodePattern | Result | AnyOf
Operand = Term | int | float | bool


def _depth(term: Term) -> int:
    if isinstance(term, AnyOf):
        return max(_depth(t) for t in term.terms)
    node = term.node if isinstance(term, Result) else term
    return node.depth if isinstance(node, NodePattern) else 0


def _size(term: Term) -> int:
    if isinstance(term, AnyOf):
        return min(_size(t) for t in term.terms)
    node = term.node if isinstance(term, Result) else term
    return node.size if isinstance(node, NodePattern) else 0


class PatternOps:
    """Writes patterns: ``op.Relu(x)``, ``op["Add", "AddV2"](x, y)``, ``op["trt.activation"](x, type="relu")``.

    Keywords are conditions on attributes: a value to equal, a set to be in, or a predicate. A number as operand is a constant
    with that value everywhere. ``...`` as last operand stands for any further ones.
    """

    def __getattr__(self, op: str) -> Callable[..., NodePattern]:
        return functools.partial(_node_pattern, (op,))

    def __getitem__(self, ops: str | tuple[str, ...]) -> Callable[..., NodePattern]:
        return functools.partial(_node_pattern, (ops,) if isinstance(ops, str) else ops)

    @staticmethod
    def any_of(*terms: Operand) -> AnyOf:
        """The first of ``terms`` that fits."""
        return AnyOf(tuple(_term(t) for t in terms))

    @staticmethod
    def near(value: float, rtol: float = 1e-3) -> Literal:
        """A constant that is ``value`` everywhere, up to a relative tolerance."""
        return Literal(value, rtol)


def _node_pattern(ops: tuple[str, ...], *operands: Operand | EllipsisType, **attributes: Any) -> NodePattern:
    is_open = bool(operands) and operands[-1] is ...
    given = operands[:-1] if is_open else operands
    return NodePattern(ops, tuple(_term(t) for t in given), attributes, is_open)


def _term(operand: object) -> Term:
    if isinstance(operand, bool | int | float):
        return Literal(operand)
    if isinstance(operand, Capture | Literal | NodePattern | Result | AnyOf):
        return operand
    raise TypeError(f"{operand!r} cannot be an operand in a pattern")


# -- what was found ------------------------------------------------------------------------------------------------------


class Match:
    """One place where a pattern fits, read-only.

    ``m.x`` is the Value captured as ``x``, or its Tensor where the pattern's parameter is annotated ``Tensor``; None when its
    alternative was not taken. ``m.conv`` is the Node that the pattern named ``conv``. ``m.value("w")`` is always the Value.
    """

    def __init__(
        self, root: Node, nodes: Mapping[NodePattern, Node], values: Mapping[str, Value], named: Mapping[str, Any]
    ) -> None:
        self.root = root
        self.by_pattern = nodes
        self.nodes: tuple[Node, ...] = tuple(sorted(dict.fromkeys(nodes.values()), key=lambda n: n.position))
        self._values = values
        self._named = named

    def value(self, name: str) -> Value:
        """The Value captured as ``name``; KeyError when it was not captured."""
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_named"][name]
        except KeyError:
            raise AttributeError(f"the pattern has no {name!r}") from None

    def __repr__(self) -> str:
        return f"<Match at {self.root.name!r} of {[n.name for n in self.nodes]}>"


# -- search --------------------------------------------------------------------------------------------------------------

Env = Mapping[Any, Any]
_EMPTY: Env = {}


@attrs.define(slots=True)
class Search:
    """One attempt to fit a pattern; with ``explain`` it remembers how far it came and what stopped it there."""

    explain: bool = False
    far: int = -1
    reason: str = ""

    def nodes(self, term: NodePattern, node: Node, env: Env = _EMPTY) -> Iterator[Env]:
        """Every way in which ``node`` matches ``term``, as extensions of ``env``."""
        if term in env:
            if env[term] is node:
                yield env
            return
        if node.op not in term.ops:
            self._miss(env, lambda: f"{_said(node)} is not {_either(term.ops)}")
            return
        wrong = _wrong_attr(term, node)
        if wrong:
            self._miss(env, lambda: f"attribute {wrong!r} of {_said(node)} is {node.attrs.get(wrong)!r}")
            return
        count = len(node.inputs)
        if count < len(term.operands) or (count > len(term.operands) and not term.is_open):
            self._miss(env, lambda: f"{_said(node)} has {count} operands, not {len(term.operands)}")
            return
        extended = {**env, term: node}
        for order in _orders(term, node):
            yield from self._operands(term.operands, order, extended)

    def _operands(self, terms: Sequence[Term], values: Sequence[Value], env: Env) -> Iterator[Env]:
        if not terms:
            yield env
            return
        for found in self.values(terms[0], values[0], env):
            yield from self._operands(terms[1:], values[1:], found)

    def values(self, term: Term, value: Value, env: Env) -> Iterator[Env]:
        """Every way in which ``value`` matches ``term``."""
        if isinstance(term, Capture):
            yield from self._capture(term, value, env)
        elif isinstance(term, Literal):
            if _is_literal(term, value):
                yield env
            else:
                self._miss(env, lambda: f"{_said(value)} is not the constant {term.value}")
        elif isinstance(term, AnyOf):
            for choice in term.terms:
                yield from self.values(choice, value, env)
        else:
            yield from self._result(term, value, env)

    def _result(self, term: NodePattern | Result, value: Value, env: Env) -> Iterator[Env]:
        node, index = (term.node, term.index) if isinstance(term, Result) else (term, 0)
        if value.producer is None:
            self._miss(env, lambda: f"{_said(value)} is not {_either(node.ops)}")
        elif value.index != index:
            self._miss(env, lambda: f"{_said(value)} is result {value.index}, not {index}")
        else:
            yield from self.nodes(node, value.producer, env)

    def _capture(self, term: Capture, value: Value, env: Env) -> Iterator[Env]:
        if term.constant and constant_of(value) is None:
            self._miss(env, lambda: f"{term.name!r} must be a constant; {_said(value)} is not")
        elif term.name not in env:
            yield {**env, term.name: value}
        elif _same(env[term.name], value):
            yield env
        else:
            self._miss(
                env, lambda: f"{term.name!r} is {_said(env[term.name])} in one place and {_said(value)} in another"
            )

    def _miss(self, env: Env, reason: Callable[[], str]) -> None:
        if not self.explain:
            return
        reached = sum(isinstance(v, Node) for v in env.values())
        if reached > self.far:
            self.far, self.reason = reached, reason()


def _said(thing: Node | Value) -> str:
    if isinstance(thing, Node):
        return f"{thing.op} {thing.name!r}"
    return f"{thing.producer.op} {thing.name!r}" if thing.producer is not None else f"argument {thing.name!r}"


def _either(ops: Sequence[str]) -> str:
    return " or ".join(ops)


def _wrong_attr(term: NodePattern, node: Node) -> str:
    for name, wanted in term.attrs.items():
        if name not in node.attrs or not _fits(node.attrs[name], wanted):
            return name
    return ""


def _fits(value: object, wanted: Any) -> bool:
    if callable(wanted):
        return bool(wanted(value))
    if isinstance(wanted, set | frozenset):
        return value in wanted
    return bool(value == wanted)


def _orders(term: NodePattern, node: Node) -> list[tuple[Value, ...]]:
    commutes = term.is_unordered or (node.definition is not None and node.definition.commutative)
    if commutes and len(node.inputs) == 2 and len(term.operands) == 2:
        return list(dict.fromkeys(itertools.permutations(node.inputs)))
    return [node.inputs]


def _is_literal(term: Literal, value: Value) -> bool:
    tensor = constant_of(value)
    if tensor is None or not 0 < tensor.num_elements <= 4096 or not tensor.dtype.has_numpy:
        return False
    return all_near(tensor, term.value, term.rtol)


def all_near(tensor: Tensor, value: float, rtol: float = 0.0) -> bool:
    """Whether every element is ``value`` up to ``rtol``; signed zeros differ, text never is a number."""
    array = tensor.numpy()
    if array.dtype.kind not in "biufV" or array.size == 0:
        return False
    numbers = [float(n) for n in array.reshape(-1)]
    bound = abs(value) * rtol
    return all(abs(n - value) <= bound and (n != 0 or math.copysign(1, n) == math.copysign(1, value)) for n in numbers)


def _same(one: Value, two: Value) -> bool:
    if one is two:
        return True
    first, second = constant_of(one), constant_of(two)
    return first is not None and second is not None and first == second


# -- whole rules ---------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True, eq=False)
class Compiled:
    """A rule's pattern after its Python has been run once: the roots, which result each replaces, and the captures."""

    roots: tuple[tuple[NodePattern, int], ...]
    captures: tuple[Capture, ...]
    whole: bool

    @property
    def ops(self) -> tuple[str, ...]:
        """The ops that the first root may be."""
        return self.roots[0][0].ops

    @property
    def depth(self) -> int:
        """How many nodes lie between a leaf and a root at most, plus the step to users that further roots need."""
        return max(r.depth for r, _ in self.roots) * len(self.roots)

    @property
    def size(self) -> int:
        """The number of nodes of the smallest match."""
        return sum(r.size for r in dict.fromkeys(r for r, _ in self.roots))

    def matches(self, graph: Graph, node: Node, search: Search) -> Iterator[Match]:
        """Every way in which the pattern fits with ``node`` as its first root."""
        if node.op not in self.ops:
            return
        for env in search.nodes(self.roots[0][0], node):
            for full in self._further(1, env, search):
                yield self._match(node, full)

    def _further(self, index: int, env: Env, search: Search) -> Iterator[Env]:
        if index == len(self.roots):
            yield env
            return
        root = self.roots[index][0]
        for candidate in [env[root]] if root in env else _candidates(root, env):
            for found in search.nodes(root, candidate, env):
                yield from self._further(index + 1, found, search)

    def _match(self, node: Node, env: Env) -> Match:
        nodes = {k: v for k, v in env.items() if isinstance(k, NodePattern)}
        values = {k: v for k, v in env.items() if isinstance(k, str)}
        named: dict[str, Any] = {c.name: _captured(c, values.get(c.name)) for c in self.captures}
        named.update((p.label, n) for p, n in nodes.items() if p.label)
        return Match(node, nodes, values, named)


def _captured(capture: Capture, value: Value | None) -> Value | Tensor | None:
    return constant_of(value) if capture.constant and value is not None else value


def _candidates(term: Term, env: Env) -> list[Node]:
    """Nodes that could match a further root, found upwards from what is bound already."""
    if isinstance(term, Result):
        return _candidates(term.node, env)
    if not isinstance(term, NodePattern):
        return []
    for operand in term.operands:
        bound = _bound_values(operand, env)
        if bound:
            return list(dict.fromkeys(u for v in bound for u in v.users))
    return []


def _bound_values(term: Term, env: Env) -> list[Value]:
    if isinstance(term, Capture):
        return [env[term.name]] if term.name in env else []
    node = term.node if isinstance(term, Result) else term
    if not isinstance(node, NodePattern):
        return []
    index = term.index if isinstance(term, Result) else 0
    found = [env[node]] if node in env else [n for n in _candidates(node, env) if n.op in node.ops]
    return [n.outputs[index] for n in found if index < len(n.outputs)]


def compile_pattern(written: Callable[..., Any], captures: Sequence[Capture]) -> Compiled:
    """Run a rule's ``pattern`` method once on fresh captures."""
    result = written(PatternOps(), *captures)
    whole = isinstance(result, NodePattern)
    parts = result if isinstance(result, tuple) else (result,)
    roots = tuple((p.node, p.index) if isinstance(p, Result) else (p, 0) for p in parts)
    if not roots or not all(isinstance(node, NodePattern) for node, _ in roots):
        raise TypeError(f"a pattern must return nodes, not {result!r}")
    return Compiled(roots, tuple(captures), whole)
