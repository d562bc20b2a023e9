"""Descent on the layout problem: proposals for many layers at once, of which a minimum cut accepts the best subset.

Each step is a fusion move (Lempitsky et al. 2010) over higher-order terms of the kind of Kohli et al. (2009): of the proposals, the
subset that permutes the fewest bytes is taken, and it is taken only when that is fewer than before. So the cost never rises, and
the search ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from tfgraphopt.ir import Node
from tfgraphopt_layout.cut import Cut
from tfgraphopt_layout.permutations import Perm
from tfgraphopt_layout.problem import Problem, Reader, Root
from tfgraphopt_layout.proposals import Seed, backward_seeds, forward_seeds, single_seeds, spread
from tfgraphopt_layout.rules import Carried

Seeds = Callable[[Problem], Iterable[Seed]]
_WHOLE: tuple[Seeds, ...] = (backward_seeds, forward_seeds)
MOST_ROUNDS = 8
MOST_SINGLES = 48


def solve(problem: Problem) -> None:
    """Choose how layers work so that few bytes are permuted; deterministic."""
    for _ in range(MOST_ROUNDS):
        gains = [_fuse(problem, spread(problem, seeds(problem))) for seeds in _WHOLE]
        if not any(gains) and not _try_singles(problem):
            return


def _try_singles(problem: Problem) -> bool:
    """Seeds that lost against others, one at a time."""
    gained = False
    for seed in single_seeds(problem)[:MOST_SINGLES]:
        if problem.cost(seed[0]):
            gained |= _fuse(problem, spread(problem, [seed]))
    return gained


def _fuse(problem: Problem, proposed: Mapping[Node, Carried]) -> bool:
    """Accept the best subset of ``proposed``; whether that permutes fewer bytes."""
    if not proposed:
        return False
    touched = list(_touched(problem, proposed))
    accepted = _Fusion(problem, proposed).best(touched)
    if not accepted:
        return False
    choice = {**problem.choice, **{n: proposed[n] for n in accepted}}
    if sum(problem.cost(r, choice) for r in touched) >= sum(problem.cost(r) for r in touched):
        return False
    problem.choice.update((n, proposed[n]) for n in accepted)
    return True


def _touched(problem: Problem, nodes: Iterable[Node]) -> Iterator[Root]:
    """The roots that ``nodes`` make or read, each once."""
    found: dict[Root, None] = {}
    for node in nodes:
        found.update((problem.origin[v][0], None) for v in (*node.inputs, *node.outputs))
    return (root for root in found if root.weight)


@attrs.define(slots=True)
class _Fusion:
    """One fusion move: layers on the sink side take the proposal, those on the source side stay as they are."""

    problem: Problem
    proposed: Mapping[Node, Carried]
    cut: Cut = attrs.field(factory=Cut)
    places: dict[Node, int] = attrs.field(factory=dict)
    endless: int = 1

    def best(self, touched: list[Root]) -> list[Node]:
        """The proposals to accept."""
        self.endless = 1 + sum(root.weight * (1 + len(root.readers)) for root in touched)
        for root in touched:
            self._add(root)
        taken = self.cut.sink_side()
        return [node for node, place in self.places.items() if place in taken]

    def _place(self, node: Node) -> int:
        if node not in self.places:
            self.places[node] = self.cut.node()
        return self.places[node]

    def _add(self, root: Root) -> None:
        """The cost of ``root``: for each order, its weight when a reader wants it and the producer does not make it."""
        now, then = self._made(root)
        wishes = [(r.node, *self._wanted(root, r)) for r in root.readers]
        for order in dict.fromkeys(o for _, a, b in wishes for o in (a, b)):
            always = any(a == b == order for _, a, b in wishes)
            keeping = [self._place(n) for n, a, b in wishes if n is not None and a == order != b]
            taking = [self._place(n) for n, a, b in wishes if n is not None and b == order != a]
            self._add_order(root, (now == order, then == order), always, keeping, taking)

    def _made(self, root: Root) -> tuple[Perm, Perm]:
        producer = root.value.producer
        now = root.key(self.problem.made(root))
        if producer is None or producer not in self.proposed:
            return now, now
        return now, root.key(self.proposed[producer].outputs[root.value.index])

    def _wanted(self, root: Root, reader: Reader) -> tuple[Perm, Perm]:
        now = root.key(self.problem.wanted(reader))
        if reader.node is None or reader.node not in self.proposed:
            return now, now
        return now, root.key(self.problem.wanted(reader, self.proposed))

    def _add_order(
        self, root: Root, made: tuple[bool, bool], always: bool, keeping: list[int], taking: list[int]
    ) -> None:
        """The cost of one order, as edges. A product of terms that no cut can express becomes a bound that is exact as things are."""
        if made == (True, True):
            return
        producer = root.value.producer
        mine = self._place(producer) if producer is not None and made[0] != made[1] else -1
        if always:
            self._unary(mine, made, root.weight)
            return
        if keeping:
            self._while_kept(mine, made, keeping, root.weight)
        if taking:
            self._when_taken(mine, made, taking, root.weight)

    def _unary(self, mine: int, made: tuple[bool, bool], weight: int) -> None:
        """Somebody wants the order in any case: the producer pays on the side on which it does not make it."""
        if made == (True, False):
            self.cut.edge(Cut.SOURCE, mine, weight)
        elif made == (False, True):
            self.cut.edge(mine, Cut.SINK, weight)

    def _while_kept(self, mine: int, made: tuple[bool, bool], keeping: list[int], weight: int) -> None:
        """Readers want the order as long as one of them stays as it is."""
        if made == (False, True):
            self._unary(mine, made, weight)
            return
        anyone = self.cut.node()
        for place in keeping:
            self.cut.edge(place, anyone, self.endless)
        self.cut.edge(anyone, mine if made == (True, False) else Cut.SINK, weight)

    def _when_taken(self, mine: int, made: tuple[bool, bool], taking: list[int], weight: int) -> None:
        """Readers want the order as soon as one of them takes the proposal."""
        anyone = self.cut.node()
        for place in taking:
            self.cut.edge(anyone, place, self.endless)
        self.cut.edge(mine if made == (False, True) else Cut.SOURCE, anyone, weight)
