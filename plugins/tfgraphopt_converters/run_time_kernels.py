"""ScaleAndTranslate's kernels as layers: functions of distances that are not negative, as in ``sampling.KERNELS``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tfgraphopt.ir import Value
from tfgraphopt_trt.builder import LayerBuilder

Kernel = Callable[[LayerBuilder, Value], Value]


def _polynomial(b: LayerBuilder, x: Value, coefficients: Sequence[float]) -> Value:
    """The polynomial with ``coefficients``, highest first, by Horner's rule."""
    found = b.scalar(coefficients[0], x)
    for coefficient in coefficients[1:]:
        found = b.elementwise(b.elementwise(found, x, "prod"), b.scalar(coefficient, x), "sum")
    return found


def _below(b: LayerBuilder, x: Value, limit: float) -> Value:
    return b.elementwise(x, b.scalar(limit, x), "less")


def _cubic(near: Sequence[float], far: Sequence[float]) -> Kernel:
    """Two polynomials: up to distance 1 and from there up to 2."""

    def kernel(b: LayerBuilder, x: Value) -> Value:
        outer = b.select(_below(b, x, 2), _polynomial(b, x, far), b.scalar(0, x))
        return b.select(_below(b, x, 1), _polynomial(b, x, near), outer)

    return kernel


def _lanczos(radius: float) -> Kernel:
    def kernel(b: LayerBuilder, x: Value) -> Value:
        safe = b.elementwise(x, b.scalar(1e-3, x), "max")
        angle = _scaled(b, safe, math.pi)
        product = b.elementwise(b.unary(angle, "sin"), b.unary(_scaled(b, angle, 1 / radius), "sin"), "prod")
        value = b.elementwise(_scaled(b, product, radius), b.elementwise(angle, angle, "prod"), "div")
        value = b.select(b.elementwise(x, b.scalar(radius, x), "greater"), b.scalar(0, x), value)
        return b.select(b.elementwise(x, b.scalar(1e-3, x), "greater"), value, b.scalar(1, x))

    return kernel


def _scaled(b: LayerBuilder, x: Value, factor: float) -> Value:
    return b.elementwise(x, b.scalar(factor, x), "prod")


def _gaussian(b: LayerBuilder, x: Value) -> Value:
    value = b.unary(_scaled(b, b.elementwise(x, x, "prod"), -2.0), "exp")
    return b.select(_below(b, x, 1.5), value, b.scalar(0, x))


def _box(b: LayerBuilder, x: Value) -> Value:
    edge = b.select(b.elementwise(x, b.scalar(0.5, x), "equal"), b.scalar(0.5, x), b.scalar(0, x))
    return b.select(_below(b, x, 0.5), b.scalar(1, x), edge)


def _triangle(b: LayerBuilder, x: Value) -> Value:
    return b.elementwise(b.elementwise(b.scalar(1, x), x, "sub"), b.scalar(0, x), "max")


KERNELS: Mapping[str, Kernel] = {
    "lanczos1": _lanczos(1.0), "lanczos3": _lanczos(3.0), "lanczos5": _lanczos(5.0), "gaussian": _gaussian, "box": _box,
    "triangle": _triangle, "keyscubic": _cubic((1.5, -2.5, 0, 1), (-0.5, 2.5, -4, 2)),
    "mitchellcubic": _cubic((7 / 6, -2, 0, 16 / 18), (-7 / 18, 2, -10 / 3, 16 / 9)),
}  # fmt: skip
