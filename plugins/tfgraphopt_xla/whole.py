"""Whether a function of TensorFlow that holds engines may be compiled as a whole.

A function that TensorFlow runs node by node costs some hundred microseconds a call before anything is computed; one that is a program
of XLA as a whole is launched at once, as ``tf.function(jit_compile=True)`` is.
"""

from __future__ import annotations

from tfgraphopt.ir import DType, Graph, Module, Node
from tfgraphopt_xla.tracing import MUST_COMPILE

_FORWARDING = frozenset({"Placeholder", "Const", "Identity", "NoOp"})
_CALL = "PartitionedCall"
_FOREIGN = frozenset({DType.STRING, DType.VARIANT, DType.RESOURCE})


def is_compiled_whole(module: Module) -> bool:
    """Whether the main graph does nothing but call programs that are compiled for every shape they meet."""
    engines = [node for node in module.main if node.op not in _FORWARDING]
    values = [v for node in module.main for v in node.outputs]
    return (
        bool(engines)
        and all(node.op == _CALL and _is_compiled(module, node) for node in engines)
        and not any(v.dtype in _FOREIGN for v in values)
    )


def _is_compiled(module: Module, call: Node) -> bool:
    """Whether the function called is a program, or nothing but a call of one (nothing is padded or cut)."""
    body = _called(module, call)
    if body is None or body.attrs.get(MUST_COMPILE):
        return body is not None
    work = [node for node in body if node.op not in _FORWARDING]
    return bool(work) and all(
        node.op in (_CALL, "StatefulPartitionedCall") and _is_compiled(module, node) for node in work
    )


def _called(module: Module, call: Node) -> Graph | None:
    function = call.attrs["f"]
    return module.functions.get(getattr(function, "name", ""))
