"""What a ``trt.*`` layer is: its shape rule, its meaning in TensorFlow ops, and how it goes into a TensorRT network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from tfgraphopt.ir import AttrDef, Attrs, AttrValue, Node, OpDef, TensorType, Value

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

Infer = Callable[[Sequence[Value], Attrs], Sequence[TensorType]]
Meaning = Callable[[Any, Sequence[Any], Attrs], Sequence[Any]]
Emit = Callable[["Emitter", Node], Sequence[Any]]


class LayerError(Exception):
    """A layer is used in a way that TensorRT would refuse; the text says why."""


@attrs.frozen(slots=True)
class LayerDef:
    """One layer of the ``trt`` dialect.

    Attributes:
        op: the op name, ``trt.`` for ours and another prefix for a third party's.
        infer: the types of the results from the input values and the attributes; raises :class:`LayerError` on misuse.
            It may look through ``value.producer`` (shape tensors made of constants are known numbers).
        meaning: ``meaning(tf, inputs, attrs)`` computes the results with public TensorFlow ops on any device.
        emit: ``emit(emitter, node)`` adds the layer to a TensorRT network and returns its output ITensors.
        defaults: attributes with their default values.
        inputs: names of the inputs, for documentation.
        doc: one sentence.
    """

    op: str
    infer: Infer
    meaning: Meaning
    emit: Emit
    defaults: Mapping[str, AttrValue] = attrs.field(factory=dict)
    inputs: tuple[str, ...] = ()
    doc: str = ""
    overrides: str = ""

    @property
    def key(self) -> str:
        """What two plugins must not both claim."""
        return self.op

    def op_def(self) -> OpDef:
        """The IR's definition of this layer."""
        defs = tuple(AttrDef(name, "any", value, True) for name, value in self.defaults.items())
        return OpDef(self.op, attrs=defs, infer=self.infer, doc=self.doc)
