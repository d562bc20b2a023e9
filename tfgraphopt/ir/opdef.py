"""What is known of an op: its arguments, attributes, effects, and how to infer its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from tfgraphopt.errors import MutationError
from tfgraphopt.ir.body import Body
from tfgraphopt.ir.tensor import Tensor
from tfgraphopt.ir.types import DType, Shape, TensorType

if TYPE_CHECKING:
    from tfgraphopt.ir.core import Value


@attrs.frozen(slots=True)
class FuncRef:
    """A reference to a function of the module by name, with the attributes it is instantiated with."""

    name: str
    attrs: tuple[tuple[str, AttrValue], ...] = ()


@attrs.frozen(slots=True)
class AttrPlaceholder:
    """An attribute of a function body whose value comes from the function's own attribute of that name."""

    name: str


AttrValue = (
    bool
    | int
    | float
    | str
    | bytes
    | DType
    | Shape
    | Tensor
    | FuncRef
    | AttrPlaceholder
    | Body
    | tuple[Any, ...]
    | None
)
Attrs = Mapping[str, AttrValue]
Infer = Callable[[Sequence["Value"], Attrs], Sequence[TensorType]]


@attrs.frozen(slots=True)
class ArgDef:
    """One input or output argument: its type is fixed, named by an attribute, or a list of either."""

    name: str
    dtype: DType | None = None
    type_attr: str = ""
    number_attr: str = ""
    type_list_attr: str = ""

    @property
    def is_list(self) -> bool:
        """Whether the argument stands for any number of tensors."""
        return bool(self.number_attr or self.type_list_attr)

    def dtypes(self, values: Attrs) -> tuple[DType, ...]:
        """The element types of the tensors of this argument under attribute ``values``."""
        if self.type_list_attr:
            return tuple(_typed(t) for t in _listed(values, self.type_list_attr))
        one = self.dtype if self.dtype is not None else _typed(values.get(self.type_attr))
        count = values.get(self.number_attr, 0) if self.number_attr else 1
        if not isinstance(count, int):
            raise MutationError(f"attribute {self.number_attr!r} must be an integer, not {count!r}")
        return (one,) * count


def _typed(value: object) -> DType:
    if not isinstance(value, DType):
        raise MutationError(f"expected an element type, found {value!r}")
    return value


def _listed(values: Attrs, name: str) -> tuple[Any, ...]:
    value = values.get(name)
    if not isinstance(value, tuple):
        raise MutationError(f"attribute {name!r} must be a list of element types, not {value!r}")
    return value


@attrs.frozen(slots=True)
class AttrDef:
    """One attribute: its kind in TensorFlow's words (``"int"``, ``"list(type)"``, ...) and its default."""

    name: str
    kind: str
    default: AttrValue = None
    has_default: bool = False

    def accepts(self, value: AttrValue) -> bool:
        """Whether ``value`` is of this attribute's kind (a placeholder always is; an integer passes for a float)."""
        items = value if self.kind.startswith("list(") else (value,)
        types = _KINDS.get(self.kind.removeprefix("list(").removesuffix(")"), (object,))
        if isinstance(value, AttrPlaceholder):
            return True
        return isinstance(items, tuple) and all(
            isinstance(i, (*types, AttrPlaceholder)) and (bool in types or object in types or not isinstance(i, bool))
            for i in items
        )


_KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,), "float": (float, int), "bool": (bool,), "string": (str, bytes), "type": (DType,), "shape": (Shape,),
    "tensor": (Tensor,), "func": (FuncRef,),
}  # fmt: skip


@attrs.frozen(slots=True)
class OpDef:
    """The facts of one op.

    ``infer`` gives the types of the results from the input values and attributes; without it element types come from the
    argument definitions and shapes stay unknown until TensorFlow's own shape functions have run. ``stateless`` says of which attributes
    a node of a stateful op has neither state nor effects.
    """

    name: str
    inputs: tuple[ArgDef, ...] = ()
    outputs: tuple[ArgDef, ...] = ()
    attrs: tuple[AttrDef, ...] = ()
    stateful: bool = False
    commutative: bool = False
    infer: Infer | None = None
    doc: str = ""
    stateless: Callable[[Attrs], bool] | None = None

    def attr(self, name: str) -> AttrDef | None:
        """The definition of attribute ``name``, or None."""
        return next((a for a in self.attrs if a.name == name), None)

    def complete(self, inputs: Sequence[Value], given: Attrs) -> dict[str, AttrValue]:
        """``given`` with the type and length attributes that the inputs decide and, for the others, the defaults filled in."""
        values: dict[str, AttrValue] = dict(given)
        if any(a.name not in values for a in self.attrs):
            self._deduce(inputs, values)
            self._deduce_from_tensor(values)
            for attr in self.attrs:
                if attr.has_default:
                    values.setdefault(attr.name, attr.default)
        return values

    def _deduce_from_tensor(self, values: dict[str, AttrValue]) -> None:
        """Set the result's type attribute of an op that is its tensor attribute (Const)."""
        for attr in self.attrs:
            tensor = values.get(attr.name) if attr.kind == "tensor" and not self.inputs else None
            if isinstance(tensor, Tensor):
                for arg in self.outputs:
                    values.setdefault(arg.type_attr, tensor.dtype)

    def _deduce(self, inputs: Sequence[Value], values: dict[str, AttrValue]) -> None:
        """Set the length and type attributes that ``inputs`` decide, as long as at most one length has to be found."""
        lengths = [a.number_attr or a.type_list_attr for a in self.inputs]
        unknown = {name for name in lengths if name and name not in values}
        if len(unknown) > 1:
            return  # the lengths cannot be told from the inputs alone
        counts = [
            0 if name in unknown else self._count(arg, values) for arg, name in zip(self.inputs, lengths, strict=True)
        ]
        for name in unknown:
            each = (len(inputs) - sum(counts)) // lengths.count(name)
            counts = [each if n == name else count for n, count in zip(lengths, counts, strict=True)]
        start = 0
        for arg, count in zip(self.inputs, counts, strict=True):
            taken = inputs[start : start + count]
            start += count
            if arg.number_attr:
                values.setdefault(arg.number_attr, len(taken))
            if arg.type_list_attr:
                values.setdefault(arg.type_list_attr, tuple(v.dtype for v in taken))
            if arg.type_attr and taken:
                values.setdefault(arg.type_attr, taken[0].dtype)

    @staticmethod
    def _count(arg: ArgDef, values: Attrs) -> int:
        if arg.type_list_attr:
            return len(_listed(values, arg.type_list_attr))
        count = values.get(arg.number_attr, 1) if arg.number_attr else 1
        return count if isinstance(count, int) else 1

    def result_types(self, inputs: Sequence[Value], values: Attrs) -> list[TensorType]:
        """The types of the results; shapes are unknown without an ``infer`` rule."""
        if self.infer is not None:
            return list(self.infer(inputs, values))
        return [TensorType(dtype) for arg in self.outputs for dtype in arg.dtypes(values)]

    def input_dtypes(self, values: Attrs) -> list[DType]:
        """The element types that the flat list of inputs must have."""
        return [dtype for arg in self.inputs for dtype in arg.dtypes(values)]

    def slices(self, args: Sequence[ArgDef], values: Attrs) -> dict[str, slice]:
        """Where each argument's tensors lie in the flat list of inputs or outputs."""
        found: dict[str, slice] = {}
        start = 0
        for arg in args:
            stop = start + len(arg.dtypes(values))
            found[arg.name] = slice(start, stop)
            start = stop
        return found


class OpTable:
    """Op definitions by name: overlays first, then a ``fallback`` lookup (TensorFlow's registry), then unknown."""

    def __init__(self, defs: Iterable[OpDef] = (), fallback: Callable[[str], OpDef | None] | None = None) -> None:
        self._defs = {d.name: d for d in defs}
        self._fallback = fallback

    def get(self, op: str) -> OpDef | None:
        """The definition of ``op``, or None when nobody knows it."""
        if op not in self._defs and self._fallback is not None:
            found = self._fallback(op)
            if found is not None:
                self._defs[op] = found
        return self._defs.get(op)

    def with_defs(self, defs: Iterable[OpDef]) -> OpTable:
        """A new table in which ``defs`` take precedence."""
        return OpTable([*self._defs.values(), *defs], self._fallback)

    def __contains__(self, op: str) -> bool:
        return self.get(op) is not None
