"""The IR: values, nodes, graphs and modules, and the few primitives that change them.

Rules of iteration: a graph may be changed while it is iterated. A node that is added behind the current one is visited, one that
is added before it is not, and an erased node is not visited any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import attrs

from tfgraphopt.errors import MutationError
from tfgraphopt.ir.names import Names
from tfgraphopt.ir.opdef import Attrs, AttrValue, OpDef, OpTable
from tfgraphopt.ir.tensor import Tensor
from tfgraphopt.ir.types import DType, Shape, TensorType

CONSTANT_OPS = frozenset({"Const", "trt.constant"})


class Listener(Protocol):
    """Is told of every change of a graph it is attached to (worklists, journals)."""

    def added(self, node: Node) -> None:
        """``node`` has just been added."""

    def erased(self, node: Node) -> None:
        """``node`` is about to be erased; its inputs are still there."""

    def changed(self, node: Node) -> None:
        """An input, attribute or control edge of ``node``, or the type of a result, has changed."""


class Value:
    """One tensor of a graph: a result of a node, or a formal input (then ``producer`` is None)."""

    __slots__ = ("_graph", "_uses", "index", "name_hint", "producer", "type")

    def __init__(self, graph: Graph, producer: Node | None, index: int, type: TensorType, name_hint: str = "") -> None:
        self._graph = graph
        self.producer = producer
        self.index = index
        self.type = type
        self.name_hint = name_hint
        self._uses: dict[tuple[Node, int], None] = {}

    @property
    def graph(self) -> Graph:
        """The graph that owns this value."""
        return self._graph

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.type.dtype

    @property
    def shape(self) -> Shape:
        """Shape, as far as it is known."""
        return self.type.shape

    @property
    def uses(self) -> tuple[tuple[Node, int], ...]:
        """The (node, input index) pairs that read this value, in the order they appeared."""
        return tuple(self._uses)

    @property
    def users(self) -> tuple[Node, ...]:
        """The nodes that read this value, each once."""
        return tuple(dict.fromkeys(node for node, _ in self._uses))

    @property
    def name(self) -> str:
        """``node`` for a first result, ``node:i`` for the others, the argument's name for a formal input."""
        if self.producer is None:
            return self.name_hint
        return self.producer.name if self.index == 0 else f"{self.producer.name}:{self.index}"

    @property
    def is_output(self) -> bool:
        """Whether the graph returns this value."""
        return any(v is self for v in self._graph.outputs)

    def set_type(self, type: TensorType) -> None:
        """Record what has been learnt of this tensor."""
        if type != self.type:
            self.type = type
            self._graph._touch(self.producer)

    def replace_uses(self, new: Value) -> None:
        """Let every reader of this value, and the graph's outputs, read ``new`` instead.

        Raises:
            MutationError: ``new`` is of another graph or element type, or comes after one of the readers.
        """
        if new is self:
            return
        if new.dtype is not self.dtype:
            raise MutationError(f"{self.name} is {self.dtype} and cannot be replaced by {new.name}, a {new.dtype}")
        readers = [(node, index) for node, index in self.uses if node is not new.producer]
        for node, _ in readers:
            self._graph._check_operand(node, new, before=node)
        for node, index in readers:
            node.set_input(index, new)
        if self.is_output:
            self._graph.set_outputs([new if v is self else v for v in self._graph.outputs])

    def __repr__(self) -> str:
        return f"<Value %{self.name}: {self.type}>"


class Node:
    """One operation. Fields are read-only to everybody but the primitives of :class:`Graph` and of this class."""

    __slots__ = (
        "_attrs", "_control_uses", "_graph", "_next", "_order", "_prev", "control", "definition", "device", "inputs", "name",
        "op", "origin", "outputs",
    )  # fmt: skip

    def __init__(self, graph: Graph, op: str, name: str, definition: OpDef | None, attrs: dict[str, AttrValue]) -> None:
        self._graph: Graph | None = graph
        self._prev: Node | None = None
        self._next: Node | None = None
        self._order = 0.0
        self._attrs = attrs
        self._control_uses: dict[Node, None] = {}
        self.op = op
        self.name = name
        self.definition = definition
        self.inputs: tuple[Value, ...] = ()
        self.control: tuple[Node, ...] = ()
        self.outputs: tuple[Value, ...] = ()
        self.device = ""
        self.origin: tuple[str, ...] = ()

    @property
    def attrs(self) -> Mapping[str, AttrValue]:
        """The attributes, read-only."""
        return MappingProxyType(self._attrs)

    @property
    def graph(self) -> Graph:
        """The graph this node is in; MutationError when it was erased."""
        if self._graph is None:
            raise MutationError(f"node {self.name!r} has been erased")
        return self._graph

    @property
    def position(self) -> float:
        """Where the node stands: smaller for whatever comes before it in its graph."""
        return self._order

    @property
    def is_erased(self) -> bool:
        """Whether the node has left its graph."""
        return self._graph is None

    @property
    def control_users(self) -> tuple[Node, ...]:
        """The nodes that wait for this one by a control edge."""
        return tuple(self._control_uses)

    @property
    def users(self) -> tuple[Node, ...]:
        """The nodes that read a result of this one, each once."""
        return tuple(dict.fromkeys(user for out in self.outputs for user in out.users))

    @property
    def has_users(self) -> bool:
        """Whether anything reads a result, waits for this node, or the graph returns or keeps it."""
        if self._control_uses or any(out._uses for out in self.outputs):
            return True
        return self.graph.keeps(self)

    @property
    def output(self) -> Value:
        """The only result; MutationError when there are none or several."""
        if len(self.outputs) != 1:
            raise MutationError(f"{self.op} node {self.name!r} has {len(self.outputs)} results, not one")
        return self.outputs[0]

    def __getitem__(self, arg: str) -> Value:
        """The tensor of input argument ``arg``, by TensorFlow's name for it."""
        values = self.arguments(arg)
        if len(values) != 1:
            raise KeyError(f"argument {arg!r} of {self.op} holds {len(values)} tensors")
        return values[0]

    def arguments(self, arg: str) -> tuple[Value, ...]:
        """The tensors of input argument ``arg`` (several for a list argument)."""
        if self.definition is None:
            raise KeyError(f"nothing is known of op {self.op}")
        return self.inputs[self.definition.slices(self.definition.inputs, self._attrs)[arg]]

    def set_input(self, index: int, value: Value) -> None:
        """Let input ``index`` read ``value``.

        Raises:
            MutationError: ``value`` is of another graph, of another element type, or not computed before this node.
        """
        old = self.inputs[index]
        if old is value:
            return
        self.graph._check_operand(self, value, before=self)
        if old.dtype is not value.dtype:
            raise MutationError(f"input {index} of {self.name!r} is {old.dtype}; {value.name} is {value.dtype}")
        del old._uses[(self, index)]
        value._uses[(self, index)] = None
        self.inputs = (*self.inputs[:index], value, *self.inputs[index + 1 :])
        self.graph._touch(self)

    def set_attr(self, name: str, value: AttrValue) -> None:
        """Set attribute ``name``."""
        if name not in self._attrs or self._attrs[name] != value or type(self._attrs[name]) is not type(value):
            self._attrs[name] = value
            self.graph._touch(self)

    def set_control(self, nodes: Iterable[Node]) -> None:
        """Let this node wait for exactly ``nodes``."""
        wanted = tuple(dict.fromkeys(nodes))
        if wanted == self.control:
            return
        for node in wanted:
            self.graph._check_waited(self, node, self)
        for node in self.control:
            del node._control_uses[self]
        for node in wanted:
            node._control_uses[self] = None
        self.control = wanted
        self.graph._touch(self)

    def __repr__(self) -> str:
        return f"<Node {self.op} {self.name!r}>"


class Graph:
    """Nodes in topological order, with formal inputs and returned values.

    ``dialect`` tells which vocabulary the nodes are of (``"tf"`` for TensorFlow ops); ``keep`` are nodes that stay alive though
    nothing reads them (fetch targets, control outputs of a function), by the name they are known under. ``source`` and ``extras``
    belong to whoever imported the graph (what the IR does not model and an export must give back); ``functions`` finds a function
    of the module by name.
    """

    def __init__(self, name: str, ops: OpTable, dialect: str = "tf") -> None:
        self.name = name
        self.ops = ops
        self.dialect = dialect
        self.version = 0
        self.attrs: dict[str, AttrValue] = {}
        self.source: object = None
        self.inputs: tuple[Value, ...] = ()
        self.outputs: tuple[Value, ...] = ()
        self.output_names: tuple[str, ...] = ()
        self.keep: dict[str, Node] = {}
        self.extras: dict[str, object] = {}
        self.functions: Callable[[str], Graph | None] = lambda name: None
        self._names = Names()
        self._nodes: dict[str, Node] = {}
        self._head: Node | None = None
        self._tail: Node | None = None
        self._listeners: list[Listener] = []

    # -- reading -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Node]:
        node = self._head
        while node is not None:
            if not node.is_erased:
                yield node
            node = node._next

    def __reversed__(self) -> Iterator[Node]:
        node = self._tail
        while node is not None:
            if not node.is_erased:
                yield node
            node = node._prev

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: object) -> bool:
        return isinstance(node, Node) and node._graph is self

    def node(self, name: str) -> Node:
        """The node called ``name``; KeyError when there is none."""
        return self._nodes[name]

    def find(self, name: str) -> Node | None:
        """The node called ``name``, or None."""
        return self._nodes.get(name)

    def keeps(self, node: Node) -> bool:
        """Whether ``node`` is a kept node or makes a returned value."""
        return any(kept is node for kept in self.keep.values()) or any(v.producer is node for v in self.outputs)

    def successor(self, node: Node) -> Node | None:
        """The node that stands right behind ``node``, or None."""
        return node._next

    def comes_before(self, first: Node, second: Node) -> bool:
        """Whether ``first`` stands before ``second`` in the order of this graph."""
        return first._order < second._order

    # -- primitives --------------------------------------------------------------------------------------------------

    def add_input(self, name: str, type: TensorType) -> Value:
        """Append a formal input and return its value."""
        value = Value(self, None, len(self.inputs), type, self._names.unique(name))
        self.inputs = (*self.inputs, value)
        self._touch(None)
        return value

    def add(
        self,
        op: str,
        inputs: Sequence[Value] = (),
        attrs: Attrs | None = None,
        *,
        name: str | None = None,
        control: Iterable[Node] = (),
        before: Node | None = None,
        device: str = "",
        origin: Sequence[str] = (),
        types: Sequence[TensorType] | None = None,
    ) -> Node:
        """Add a node before ``before`` (at the end by default) and return it.

        Attributes that have defaults or follow from the inputs may be left out. The types of the results come from ``types``,
        else from the op's definition. A taken ``name`` gets a suffix.

        Raises:
            MutationError: an operand is of another graph or not computed in time, or the results' types cannot be told.
        """
        definition = self.ops.get(op)
        values = dict(attrs or {}) if definition is None else definition.complete(inputs, attrs or {})
        if types is None:
            types = self._result_types(op, definition, inputs, values)
        node = Node(self, op, self._names.unique(name or op), definition, values)
        self._check_place(before)
        waited = tuple(dict.fromkeys(control))
        for value in inputs:
            self._check_operand(node, value, before)
        for other in waited:
            self._check_waited(node, other, before)
        self._link(node, before)
        node.device, node.origin = device, tuple(origin)
        node.inputs = tuple(inputs)
        for index, value in enumerate(node.inputs):
            value._uses[(node, index)] = None
        node.outputs = tuple(Value(self, node, i, t) for i, t in enumerate(types))
        for other in waited:
            other._control_uses[node] = None
        node.control = waited
        self.version += 1
        for listener in self._listeners:
            listener.added(node)
        return node

    def erase(self, node: Node) -> None:
        """Remove ``node``; whoever waited for it waits for what it waited for.

        Raises:
            MutationError: a result is still read, or the graph returns or keeps the node.
        """
        readers = [user.name for out in node.outputs for user in out.users]
        if readers or self.keeps(node):
            raise MutationError(
                f"{node.op} node {node.name!r} cannot be erased", why=f"it is used by {readers or 'the graph'}"
            )
        for listener in self._listeners:
            listener.erased(node)
        waited = [*node.control, *(v.producer for v in node.inputs if v.producer is not None)]
        for user in node.control_users:
            user.set_control([*(c for c in user.control if c is not node), *waited])
        for other in node.control:
            del other._control_uses[node]
        node.control = ()
        for index, value in enumerate(node.inputs):
            value._uses.pop((node, index), None)
        self._unlink(node)
        self.version += 1

    def move(self, node: Node, before: Node | None) -> None:
        """Let ``node`` stand just before ``before``, or last.

        Raises:
            MutationError: an operand would come after it, or a reader before it.
        """
        if node is before:
            return
        if node._graph is not self:
            raise MutationError(f"{node.name!r} is not a node of graph {self.name!r}")
        self._check_place(before)
        operands = [v.producer for v in node.inputs if v.producer is not None] + list(node.control)
        where = "to the end" if before is None else f"before {before.name!r}"
        if before is not None and any(p._order >= before._order for p in operands):
            raise MutationError(f"{node.name!r} cannot move {where}: an operand would come after it")
        readers = [*node.users, *node.control_users]
        if readers and (before is None or any(r._order < before._order for r in readers)):
            raise MutationError(f"{node.name!r} cannot move {where}: a reader would come before it")
        self._detach(node)
        self._attach(node, before)
        self._touch(node)

    def set_outputs(self, values: Sequence[Value], names: Sequence[str] | None = None) -> None:
        """Return ``values``; ``names`` are what the caller fetches them by (kept when only the values change)."""
        for value in values:
            if value._graph is not self or (value.producer is not None and value.producer.is_erased):
                raise MutationError(f"%{value.name} is not a value of graph {self.name!r}")
        if names is None:
            names = self.output_names if len(values) == len(self.outputs) else [v.name for v in values]
        if len(names) != len(values):
            raise MutationError(f"{len(values)} outputs need {len(values)} names, not {len(names)}")
        self.outputs, self.output_names = tuple(values), tuple(names)
        self._touch(None)

    def set_keep(self, keep: Mapping[str, Node]) -> None:
        """Keep exactly these nodes alive though nothing may read them."""
        for node in keep.values():
            if node._graph is not self:
                raise MutationError(f"{node.name!r} is not a node of graph {self.name!r} and cannot be kept")
        self.keep = dict(keep)
        self._touch(None)

    def attach(self, listener: Listener) -> None:
        """Tell ``listener`` of every change from now on."""
        self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Stop telling ``listener``."""
        self._listeners.remove(listener)

    def reserve(self, name: str) -> None:
        """Keep ``name`` from being given to a new node."""
        self._names.reserve(name)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _result_types(
        self, op: str, definition: OpDef | None, inputs: Sequence[Value], values: Attrs
    ) -> Sequence[TensorType]:
        if definition is None:
            raise MutationError(
                f"op {op!r} is unknown", hint="give its result types, or define it by a plugin's op definition"
            )
        return definition.result_types(inputs, values)

    def _check_operand(self, node: Node, value: Value, before: Node | None) -> None:
        if value._graph is not self:
            raise MutationError(f"%{value.name} cannot feed {node.name!r}", why="it belongs to another graph")
        producer = value.producer
        if producer is None:
            return
        if producer._graph is None:
            raise MutationError(f"%{value.name} cannot feed {node.name!r}", why="its node was erased")
        if before is not None and producer._order >= before._order:
            raise MutationError(f"%{value.name} cannot feed {node.name!r}", why="it is computed only later")

    def _check_waited(self, node: Node, other: Node, before: Node | None) -> None:
        if other._graph is not self or (before is not None and other._order >= before._order):
            raise MutationError(f"{node.name!r} cannot wait for {other.name!r}, which does not come before it")

    def _check_place(self, before: Node | None) -> None:
        if before is not None and before._graph is not self:
            raise MutationError(f"nothing can stand before {before.name!r}, which is not in graph {self.name!r}")

    def _touch(self, node: Node | None) -> None:
        self.version += 1
        if node is not None:
            for listener in self._listeners:
                listener.changed(node)

    def _link(self, node: Node, before: Node | None) -> None:
        self._nodes[node.name] = node
        self._attach(node, before)

    def _attach(self, node: Node, before: Node | None) -> None:
        after = self._tail if before is None else before._prev
        while after is not None and after.is_erased:
            after = after._prev
        node._prev, node._next = after, before
        if after is None:
            self._head = node
        else:
            after._next = node
        if before is None:
            self._tail = node
        else:
            before._prev = node
        low = after._order if after is not None else (before._order - 2.0 if before is not None else 0.0)
        high = before._order if before is not None else low + 2.0
        node._order = (low + high) / 2
        if not low < node._order < high:
            self._renumber()

    def _renumber(self) -> None:
        for position, node in enumerate(self):
            node._order = float(position)

    def _detach(self, node: Node) -> None:
        if node._prev is None:
            self._head = node._next
        else:
            node._prev._next = node._next
        if node._next is None:
            self._tail = node._prev
        else:
            node._next._prev = node._prev

    def _unlink(self, node: Node) -> None:
        self._detach(node)
        del self._nodes[node.name]
        self._names.release(node.name)
        node._graph = None  # its own links stay, so that an iteration standing on it finds the way on

    def __repr__(self) -> str:
        return f"<Graph {self.name!r} of {len(self)} nodes>"


@attrs.define(slots=True, eq=False)
class Module:
    """A main graph and the functions it may call.

    ``opaque_functions`` are functions that are carried along unread (polymorphic ones). ``lowered`` holds second bodies in
    another dialect, by the function they stand beside or the node that runs them; they are not exported.
    ``versions`` is (producer, min_consumer, bad_consumers) of the GraphDef it came from.
    """

    main: Graph
    ops: OpTable
    functions: dict[str, Graph] = attrs.field(factory=dict)
    lowered: dict[str, Graph] = attrs.field(factory=dict)
    opaque_functions: dict[str, object] = attrs.field(factory=dict)
    gradients: tuple[tuple[str, str], ...] = ()
    versions: tuple[int, int, tuple[int, ...]] = (0, 0, ())

    def __attrs_post_init__(self) -> None:
        self.main.functions = self.functions.get

    def add_function(self, graph: Graph) -> None:
        """Make ``graph`` a function of this module, under its own name."""
        graph.functions = self.functions.get
        self.functions[graph.name] = graph

    def graphs(self, dialect: str | None = None) -> list[Graph]:
        """Every graph of the module, the main one first; of one dialect when asked."""
        every = [self.main, *self.functions.values(), *self.lowered.values()]
        return [g for g in every if dialect is None or g.dialect == dialect]

    @property
    def version(self) -> int:
        """Changes whenever any graph changes."""
        return hash(tuple((g.name, g.version) for g in self.graphs()))


def constant_of(value: Value | None) -> Tensor | None:
    """The constant that ``value`` is, seen through Identity nodes, or None."""
    while value is not None and value.producer is not None:
        producer = value.producer
        if producer.op in CONSTANT_OPS:
            tensor = producer.attrs.get("value")
            return tensor if isinstance(tensor, Tensor) else None
        if producer.op != "Identity":
            return None
        value = producer.inputs[0]
    return None
