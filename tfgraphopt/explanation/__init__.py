"""Explanations: what became of every node of a model and why, what crosses into engines and out, and what could be better.

:func:`explain_graph_def` explains what an optimisation would do; a :class:`Watcher` around a real one explains what it did. Both give
an :class:`Explanation`: data, which is also JSON, text and a page.
"""

from __future__ import annotations

from tfgraphopt.explanation.explain import Boundary, Explanation, Watcher, explain_graph_def
from tfgraphopt.explanation.page import write_page
from tfgraphopt.explanation.views import View, ViewNode

__all__ = ["Boundary", "Explanation", "View", "ViewNode", "Watcher", "explain_graph_def", "write_page"]
