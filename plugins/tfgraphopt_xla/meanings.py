"""What layers mean, said in the way that XLA makes the best of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.ir import Attrs
from tfgraphopt_trt.layerdef import LayerDef


def for_xla(layers: Mapping[str, LayerDef]) -> dict[str, LayerDef]:
    """The layer definitions with other meanings where XLA would not see that they are the same."""
    ours = {"trt.matrix_multiply": _matrix_multiply}
    return {op: attrs.evolve(d, meaning=ours[op](d)) if op in ours else d for op, d in layers.items()}


def _matrix_multiply(layer: LayerDef) -> Any:
    """A product with one matrix for all leading axes as a product of two matrices: XLA would repeat the matrix for each."""

    def meaning(tf: Any, inputs: Sequence[Any], attributes: Attrs) -> Sequence[Any]:
        a, b = inputs
        leading = b.shape.as_list()[:-2]
        if not leading or set(leading) != {1} or attributes["transpose_a"] or a.shape[-1] is None:
            return layer.meaning(tf, inputs, attributes)
        matrix = tf.reshape(b, b.shape[-2:])
        product = tf.linalg.matmul(
            tf.reshape(a, [-1, a.shape[-1]]), matrix, transpose_b=bool(attributes["transpose_b"])
        )
        dims = [s if s is not None else tf.shape(a)[i] for i, s in enumerate(a.shape.as_list()[:-1])]
        return [tf.reshape(product, [*dims, product.shape[-1]])]

    return meaning
