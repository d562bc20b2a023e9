"""Writes a solved layout problem back into its graph."""

from __future__ import annotations

import math

import attrs
import numpy as np

from tfgraphopt.ir import Node, Tensor, Value, constant_of
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_layout.permutations import Perm, between, is_identity, permuted
from tfgraphopt_layout.problem import TRANSPOSE, Problem, Root
from tfgraphopt_layout.rules import Carried, Scramble

GATHER = "trt.gather"
CONSTANT = "trt.constant"


def rewrite(problem: Problem) -> None:
    """Let every layer work as ``problem`` has chosen, with transposes only where orders meet that differ."""
    _Rewriting(problem).run()


@attrs.define(slots=True)
class _Rewriting:
    problem: Problem
    laid: dict[tuple[Root, Perm], Value] = attrs.field(factory=dict)
    result: dict[Root, Value] = attrs.field(factory=dict)
    weights: dict[tuple[Node, int], Value] = attrs.field(factory=dict)
    there: dict[tuple[Root, Perm], Node] = attrs.field(factory=dict)
    moved: dict[tuple[Root, Perm], tuple[Perm, Value]] = attrs.field(factory=dict)

    def run(self) -> None:
        graph = self.problem.graph
        nodes = list(graph)
        self._note_transposes(nodes)
        for node in nodes:
            if node.op != TRANSPOSE:
                self._rewrite(node, self.problem.works(node))
        origins = [self.problem.origin[v] for v in graph.outputs]
        outputs = [self._get(root, perm, None) for root, perm in origins]
        if any(a is not b for a, b in zip(outputs, graph.outputs, strict=True)):
            graph.set_outputs(outputs)
        if any(not n.has_users for n in graph):
            erase_dead(graph, keep_placeholders=False)

    def _note_transposes(self, nodes: list[Node]) -> None:
        """Transposes that may stay, by what they read and the order they make: those that :meth:`_transposed` would write."""
        for node in nodes:
            if node.op == TRANSPOSE:
                root, perm = self.problem.origin[node.outputs[0]]
                made = self.problem.made(root)
                _, source = self.moved.get((root, root.key(perm)), (made, root.value))
                if is_identity(made) and node.inputs[0] is source and self._is_wanted(root, perm):
                    self.there.setdefault((root, perm), node)
                    self._first_of_key(root, perm, node.outputs[0])

    def _is_wanted(self, root: Root, perm: Perm) -> bool:
        return any(self.problem.wanted(r) == perm for r in root.readers)

    def _rewrite(self, node: Node, work: Carried) -> None:
        for index, value in enumerate(node.inputs):
            node.set_input(index, self._operand(node, index, value, work))
        if work.op:
            self._become(node, work)
            return
        for name, changed in work.changed.items():
            node.set_attr(name, changed)
        for value, perm in zip(node.outputs, work.outputs, strict=True):
            if not is_identity(perm):
                value.set_type(permuted(value.type, perm))
        if work.listed is not None and not is_identity(work.listed):
            self.result[self.problem.roots[node.outputs[0]]] = self._taken(
                node.outputs[0], work.listed, node, behind=True
            )
        if work.scramble is not None:
            self._mix_weights(node, work.scramble)

    def _become(self, node: Node, work: Carried) -> None:
        """Another layer takes the place of ``node``, and its results that of the roots that ``node`` made."""
        problem, graph = self.problem, self.problem.graph
        types = [permuted(v.type, p) for v, p in zip(node.outputs, work.outputs, strict=True)]
        made = graph.add(
            work.op, node.inputs, work.attributes(node), name=node.name, before=graph.successor(node), origin=node.origin,
            types=types,
        )  # fmt: skip
        problem.choice[made] = work
        for old, new in zip(node.outputs, made.outputs, strict=True):
            root = problem.roots[old]
            root.value = new
            problem.roots[new], problem.origin[new] = root, problem.origin[old]
            old.replace_uses(new)
        graph.erase(node)

    def _operand(self, node: Node, index: int, value: Value, work: Carried) -> Value:
        value = self.weights.get((node, index), value)
        if value in self.problem.origin:
            root, way = self.problem.origin[value]
            laid = self._get(root, tuple(way[axis] for axis in work.inputs[index]), node)
        else:
            laid = self._constant(value, work.inputs[index])
        taken = work.lists.get(index)
        return laid if taken is None or is_identity(taken) else self._taken(laid, taken, node, behind=False)

    # -- tensors in other orders -------------------------------------------------------------------------------------

    def _get(self, root: Root, perm: Perm, before: Node | None) -> Value:
        """``root`` in order ``perm``, computed before ``before``."""
        made = self.problem.made(root)
        if perm == made:
            return self.result.get(root, root.value)
        key = (root, perm)
        if key not in self.laid:
            constant = constant_of(root.value) is not None
            self.laid[key] = (
                self._constant(root.value, perm) if constant else self._transposed(root, made, perm, before)
            )
        else:
            self._keep_early(self.laid[key], before)
        return self.laid[key]

    def _transposed(self, root: Root, made: Perm, perm: Perm, before: Node | None) -> Value:
        old = self.there.get((root, perm))
        if old is not None:
            self._keep_early(old.outputs[0], before)
            return self._first_of_key(root, perm, old.outputs[0])
        have, value = self.moved.get((root, root.key(perm)), (made, root.value))
        self._keep_early(value, before)
        producer = value.producer
        graph, way = self.problem.graph, between(have, perm)
        place = next(iter(graph), None) if producer is None else graph.successor(producer)
        origin = producer.origin if producer is not None else before.origin if before is not None else (value.name,)
        node = graph.add(
            TRANSPOSE, [value], {"perm": way}, name=f"{root.value.name.replace(':', '_')}/transpose", before=place, origin=origin,
            types=[permuted(value.type, way)],
        )  # fmt: skip
        return self._first_of_key(root, perm, node.output)

    def _first_of_key(self, root: Root, perm: Perm, value: Value) -> Value:
        """Remember a tensor whose numbers have been moved: another order that only moves axes of size one starts from it."""
        if root.key(perm) != root.key(self.problem.made(root)):
            self.moved.setdefault((root, root.key(perm)), (perm, value))
        return value

    def _keep_early(self, value: Value, before: Node | None) -> None:
        """Move a transpose in front of a reader that came to it only now."""
        node = value.producer
        if before is not None and node is not None and node.op == TRANSPOSE and not node.position < before.position:
            self._keep_early(node.inputs[0], before)
            node.graph.move(node, before)

    def _constant(self, value: Value, perm: Perm) -> Value:
        tensor, producer = constant_of(value), value.producer
        assert tensor is not None
        assert producer is not None
        if is_identity(perm):
            return value
        graph = self.problem.graph
        return graph.add(
            CONSTANT, [], {"value": tensor.transpose(perm)}, name=producer.name, before=graph.successor(producer),
            origin=producer.origin,
        ).output  # fmt: skip

    # -- lists of numbers, mixed weights -----------------------------------------------------------------------------

    def _taken(self, values: Value, order: Perm, node: Node, *, behind: bool) -> Value:
        """The numbers of a vector in another order."""
        graph = self.problem.graph
        place = graph.successor(node) if behind else node
        tensor = constant_of(values)
        if tensor is not None:
            mixed = Tensor.of(tensor.numpy()[list(order)], tensor.dtype)
            return graph.add(
                CONSTANT, [], {"value": mixed}, name=f"{node.name}/list", before=place, origin=node.origin
            ).output
        numbers = Tensor.of(np.array(order, np.int32))
        name, origin = f"{node.name}/order", node.origin
        indices = graph.add(CONSTANT, [], {"value": numbers}, name=name, before=place, origin=origin).output
        return graph.add(
            GATHER, [values, indices], {"axis": 0, "batch_dims": 0, "mode": "default"}, name=f"{node.name}/list", before=place,
            origin=node.origin,
        ).output  # fmt: skip

    def _mix_weights(self, node: Node, scramble: Scramble) -> None:
        """Give the products that read ``node`` weights whose contracted axis is mixed as the result of ``node`` is."""
        for user, _ in tuple(node.outputs[0].uses):
            weights = user.inputs[1]
            tensor, producer = constant_of(weights), weights.producer
            assert tensor is not None
            assert producer is not None
            axis = len(weights.shape) - (1 if user.attrs["transpose_b"] else 2)
            mixed = user.graph.add(
                CONSTANT,
                [],
                {"value": _mixed(tensor, axis, scramble)},
                name=producer.name,
                before=user,
                origin=producer.origin,
            )
            self.weights[user, 1] = mixed.output


def _mixed(tensor: Tensor, axis: int, scramble: Scramble) -> Tensor:
    """``tensor`` with ``axis``, which is made of axes of sizes ``dims``, put into their new order; nothing is decoded yet."""
    dims = tensor.shape.static()
    assert math.prod(scramble.dims) == dims[axis]
    split = (*dims[:axis], *scramble.dims, *dims[axis + 1 :])
    count = len(scramble.dims)
    perm = (*range(axis), *(axis + p for p in scramble.perm), *range(axis + count, len(split)))
    return tensor.reshape(split).transpose(perm).reshape(dims)
