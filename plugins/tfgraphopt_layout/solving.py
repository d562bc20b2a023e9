"""Descent on the layout problem: proposals for many layers at once, of which a minimum cut accepts the best subset.

Each step is a fusion move (Lempitsky et al. 2010) over higher-order terms of the kind of Kohli et al. (2009): of the proposals,
the subset that permutes the fewest bytes is taken, and only when that is fewer than before. So the cost never rises, and the
search ends.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from tfgraphopt.ir import Node
from tfgraphopt.mincut import Cut
from tfgraphopt_layout.permutations import Perm
from tfgraphopt_layout.problem import Problem, Root
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
    choice = ChainMap({n: proposed[n] for n in accepted}, problem.choice)
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


@attrs.frozen(slots=True)
class _Tier:
    """One part of the cost of a root: who makes it, in which order now and then, and what each further order costs."""

    producer: Node | None
    made: tuple[Perm, Perm]
    weight: int


@attrs.define(slots=True)
class _Fusion:
    """One fusion move: layers on the sink side take the proposal, those on the source side stay as they are."""

    problem: Problem
    proposed: Mapping[Node, Carried]
    cut: Cut = attrs.field(factory=Cut)
    places: dict[Node, int] = attrs.field(factory=dict)
    endless: int = 1
    later: Mapping[Node, Carried] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.later = ChainMap(dict(self.proposed), self.problem.choice)

    def best(self, touched: list[Root]) -> list[Node]:
        """The proposals to accept."""
        self.endless = 1 + sum(weight * (1 + len(root.readers)) for root in touched for _, weight in root.tiers)
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
        now, later = self.problem.choice, self.later
        made = (self.problem.made(root, now), self.problem.made(root, later))
        wishes = [(r.node, self.problem.wanted(r, now), self.problem.wanted(r, later)) for r in root.readers]
        for key, weight in root.tiers:
            tier = _Tier(root.value.producer, (key(made[0]), key(made[1])), weight)
            self._add_tier(tier, [(node, key(a), key(b)) for node, a, b in wishes])

    def _add_tier(self, tier: _Tier, wishes: Sequence[tuple[Node | None, Perm, Perm]]) -> None:
        for order in dict.fromkeys(o for _, a, b in wishes for o in (a, b)):
            always = any(a == b == order for _, a, b in wishes)
            keeping = [self._place(n) for n, a, b in wishes if n is not None and a == order != b]
            taking = [self._place(n) for n, a, b in wishes if n is not None and b == order != a]
            made = (tier.made[0] == order, tier.made[1] == order)
            self._add_order(tier, made, always, keeping, taking)

    def _add_order(
        self, tier: _Tier, made: tuple[bool, bool], always: bool, keeping: list[int], taking: list[int]
    ) -> None:
        """The cost of one order, as edges.

        A product of terms that no cut can express becomes an upper bound that is exact as things are, so nothing gets worse.
        """
        if made == (True, True):
            return
        mine = self._place(tier.producer) if tier.producer is not None and made[0] != made[1] else -1
        if always:
            self._unary(mine, made, tier.weight)
            return
        if keeping:
            self._while_kept(mine, made, keeping, tier.weight)
        if taking:
            self._when_taken(mine, made, taking, tier.weight)

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
