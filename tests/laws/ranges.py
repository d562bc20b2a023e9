"""The shapes that a drawn module takes, as an optimisation wants to know them."""

from __future__ import annotations

from tfgraphopt import ShapeRange
from tfgraphopt.ir import Module
from tfgraphopt.testing.strategies import example_shape


def example_ranges(module: Module) -> dict[str, ShapeRange]:
    """For every placeholder with unknown dimensions, the only shape that the graph around it is known to take."""
    open_ended = [n for n in module.main if n.op == "Placeholder" and not n.output.shape.is_static]
    shapes = {n.name: example_shape(n).static() for n in open_ended}
    return {name: ShapeRange(shape, shape, shape) for name, shape in shapes.items()}
