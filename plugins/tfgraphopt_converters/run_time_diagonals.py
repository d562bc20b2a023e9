"""Where diagonals lie in matrices whose sides are known only at run time: the formulas of ``Diagonals``, by layers."""

from __future__ import annotations

import attrs
import numpy as np

from tfgraphopt.ir import Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.sizes import Size
from tfgraphopt_trt.builder import LayerBuilder


@attrs.frozen(slots=True)
class RunTimeDiagonals:
    """The diagonals ``low`` to ``high`` of a ``rows`` x ``columns`` matrix, packed one a row, the highest first.

    ``right_above`` and ``right_below`` say whether those above and those below the main diagonal are padded in front. All numbers are
    int64.
    """

    b: LayerBuilder
    low: int
    high: int
    rows: Size
    columns: Size
    right_above: bool
    right_below: bool

    @property
    def longest(self) -> Size:
        """Elements of the longest diagonal."""
        b = self.b
        below, above = sizes.add(b, self.rows, min(self.high, 0)), sizes.add(b, self.columns, min(-self.low, 0))
        return sizes.smallest(b, below, above)

    def unpacked(self, longest: Size) -> tuple[Value, Value]:
        """For every matrix element its place among the packed ones, and whether it is on one of the diagonals: [rows, columns]."""
        row, column = self.b.unsqueeze(self._count(self.rows), (1,)), self.b.unsqueeze(self._count(self.columns), (0,))
        number = self._do(column, row, "sub")
        inside = self._both(self._do(number, self.low - 1, "greater"), self._do(number, self.high + 1, "less"))
        line = self._do(self._do(self.high, number, "sub"), longest, "prod")
        along = self._do(self._do(column, self._do(number, 0, "max"), "sub"), self._offset(number, longest), "sum")
        return self._where(inside, self._do(line, along, "sum")), inside

    def packed(self) -> tuple[Value, Value]:
        """For every packed element its place in the flat matrix, and whether it is none of the padding: [diagonals, longest]."""
        number = self.b.constant(np.arange(self.high, self.low - 1, -1, dtype=np.int64)[:, None])
        along = self.b.unsqueeze(self._count(self.longest), (0,))
        along = self._do(along, self._offset(number, self.longest), "sub")
        row = self._do(along, self._do(self._do(0, number, "sub"), 0, "max"), "sum")
        column = self._do(along, self._do(number, 0, "max"), "sum")
        within = self._both(self._do(row, self.rows, "less"), self._do(column, self.columns, "less"))
        inside = self._both(self._do(along, -1, "greater"), within)
        return self._where(inside, self._do(self._do(row, self.columns, "prod"), column, "sum")), inside

    def _offset(self, number: Value, longest: Size) -> Value:
        """Elements of padding in front of diagonals ``number``."""
        if not (self.right_above or self.right_below):
            return self._value(0)
        across = self._do(self.columns, self._do(number, 0, "max"), "sub")
        down = self._do(self.rows, self._do(number, 0, "min"), "sum")
        missing = self._do(longest, self._do(across, down, "min"), "sub")
        if self.right_above and self.right_below:
            return missing
        right = self._do(number, -1, "greater") if self.right_above else self._do(number, 1, "less")
        return self._where(right, missing)

    # -- arithmetic --------------------------------------------------------------------------------------------------

    def _value(self, size: Size) -> Value:
        return self.b.constant(np.array([size], np.int64)) if isinstance(size, int) else size

    def _do(self, x: Size, y: Size, operation: str) -> Value:
        return self.b.elementwise(self._value(x), self._value(y), operation)

    def _both(self, x: Value, y: Value) -> Value:
        return self.b.elementwise(x, y, "and")

    def _where(self, condition: Value, x: Value) -> Value:
        """``x`` where the condition holds, else 0."""
        return self.b.select(condition, x, self._value(0))

    def _count(self, size: Size) -> Value:
        return sizes.iota(self.b, size)
