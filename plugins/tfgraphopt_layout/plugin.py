"""The layout plugin: its passes, its hook and the rules of the shipped layers."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.passes import Pass
from tfgraphopt_layout import hookspecs
from tfgraphopt_layout.boundary import LayoutBoundary
from tfgraphopt_layout.layout import Layout
from tfgraphopt_layout.rules import LayoutRule
from tfgraphopt_layout.shipped import all_rules


@hookimpl
def tfgraphopt_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Open the hook for layout rules."""
    pluginmanager.add_hookspecs(hookspecs)


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """layout-boundary, layout."""
    return [LayoutBoundary, Layout]


@hookimpl
def tfgraphopt_layout_rules() -> Iterable[LayoutRule]:
    """The rules of the shipped layers."""
    return all_rules()
