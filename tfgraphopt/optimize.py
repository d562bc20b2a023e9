"""Where :mod:`tfgraphopt.optimization` was before ``tfgraphopt.optimize`` became a function; import from there.

The import of a submodule puts it in place of a function of the same name. So that ``tfgraphopt.optimize(...)`` works all the same
where somebody still imports this one, it can be called.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from tfgraphopt.optimization import Progress, Result, _silent, op_table, optimize, optimize_graph_def, pipeline_of

__all__ = ["Progress", "Result", "_silent", "op_table", "optimize", "optimize_graph_def", "pipeline_of"]


class _Callable(types.ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return optimize(*arguments, **named)


sys.modules[__name__].__class__ = _Callable
