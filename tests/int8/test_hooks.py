"""The hooks around INT8, used by a stranger's plugin."""

from __future__ import annotations

from types import SimpleNamespace

import attrs
import pytest

from tfgraphopt import hookimpl, plugins
from tfgraphopt.calibration import Calibration
from tfgraphopt.errors import PluginError
from tfgraphopt_int8.calibrating import CALIBRATION
from tfgraphopt_int8.rules import WeightedLayer


def stranger(**hooks: object) -> tuple[str, object]:
    """A plugin whose hooks give these items."""
    made = {}
    for name, items in hooks.items():

        def give(items: object = items) -> object:
            return items

        give.__name__ = name
        made[name] = staticmethod(hookimpl(specname=name)(give))
    return "acme", SimpleNamespace(**{name: function.__func__ for name, function in made.items()})


def test_a_weighted_layer_of_a_stranger_is_listed_beside_ours() -> None:
    layer = WeightedLayer("acme.dense", lambda node: (0, 1, 1))
    tables = plugins.load(extra=[stranger(tfgraphopt_int8_layers=[layer])], strict=True)
    table = tables.table("tfgraphopt_int8_layers")
    assert table["acme.dense"] is layer
    assert "trt.convolution" in table


def test_two_calibrations_for_one_precision_clash_unless_one_overrides() -> None:
    rival = attrs.evolve(CALIBRATION)
    assert isinstance(rival, Calibration)
    with pytest.raises(PluginError, match="both claim 'int8'"):
        plugins.load(extra=[stranger(tfgraphopt_calibrations=[rival])])
    better = attrs.evolve(CALIBRATION, overrides="int8")
    tables = plugins.load(extra=[stranger(tfgraphopt_calibrations=[better])])
    assert tables.table("tfgraphopt_calibrations")["int8"] is better
