from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pluggy
import pytest

from tfgraphopt import hookspecs, plugins
from tfgraphopt.errors import ConfigError, PluginError
from tfgraphopt.hookspecs import hookimpl, hookspec
from tfgraphopt.ir import ArgDef, DType, OpDef
from tfgraphopt.passes import Pass, Quiet
from tfgraphopt.report import Report
from tfgraphopt.rewrite import Pattern
from tfgraphopt.runtimes import EngineRuntime


def plugin(**hooks: Any) -> ModuleType:
    """A module that implements hooks by these functions."""
    found = ModuleType("made")
    for name, function in hooks.items():
        setattr(found, f"tfgraphopt_{name}", hookimpl(function))
    return found


def load(*extra: tuple[str, object], **options: Any) -> plugins.Tables:
    return plugins.load(only=[], extra=extra, **options)


@attrs.frozen(slots=True)
class Tidy(Pass):
    name: ClassVar[str] = "tidy"


@attrs.frozen(slots=True)
class OtherTidy(Pass):
    name: ClassVar[str] = "tidy"


@attrs.frozen(slots=True)
class BetterTidy(Pass):
    name: ClassVar[str] = "tidy"
    overrides: ClassVar[str] = "one"


@attrs.frozen(slots=True)
class Rule(Pattern):
    name: ClassVar[str] = "rule"
    host: ClassVar[str] = "tidy"


GELU = OpDef("AcmeGelu", (ArgDef("x", DType.FLOAT),), (ArgDef("y", DType.FLOAT),))
RUNTIME = EngineRuntime("acme", load=lambda: None, counters=dict, reset=lambda: None)


# -- every hook ----------------------------------------------------------------------------------------------------------


def test_op_defs_are_collected() -> None:
    tables = load(("acme", plugin(op_defs=lambda: [GELU])))
    assert tables.items("tfgraphopt_op_defs") == (GELU,)
    assert tables.owner("tfgraphopt_op_defs", "AcmeGelu") == "acme"


def test_passes_are_collected() -> None:
    assert load(("acme", plugin(passes=lambda: [Tidy]))).table("tfgraphopt_passes") == {"tidy": Tidy}


def test_patterns_are_collected() -> None:
    assert load(("acme", plugin(patterns=lambda: [Rule]))).table("tfgraphopt_patterns") == {"rule": Rule}


def test_pipelines_are_collected() -> None:
    tables = load(("acme", plugin(pipelines=lambda: [("quick", "tidy")])))
    assert tables.table("tfgraphopt_pipelines") == {"quick": ("quick", "tidy")}


def test_runtimes_are_collected() -> None:
    tables = load(("acme", plugin(runtimes=lambda: [RUNTIME])))
    assert tables.table("tfgraphopt_runtimes") == {"acme": RUNTIME}


def test_instruments_get_the_configuration() -> None:
    seen = []
    tables = load(("acme", plugin(instruments=lambda config: seen.append(config) or [Quiet()])))
    (made,) = tables.call("tfgraphopt_instruments", {"config": "the configuration"})
    assert seen == ["the configuration"]
    assert isinstance(made[0], Quiet)


def test_finished_gets_the_report() -> None:
    seen = []
    report = Report()
    load(("acme", plugin(finished=lambda report: seen.append(report)))).call("tfgraphopt_finished", {"report": report})
    assert seen == [report]


def _acme_specs() -> ModuleType:
    specs = ModuleType("acme_specs")

    @hookspecs.contributes("anvils", lambda item: isinstance(item, str), lambda item: (item,))
    def tfgraphopt_acme_anvils() -> Any:
        """Anvils."""

    specs.tfgraphopt_acme_anvils = hookspec(tfgraphopt_acme_anvils)  # type: ignore[attr-defined]
    return specs


def test_plugins_open_hooks_of_their_own_in_any_order() -> None:
    opener = plugin(addhooks=lambda pluginmanager: pluginmanager.add_hookspecs(_acme_specs()))
    user = plugin(acme_anvils=lambda: ["light", "heavy"])
    for order in ((("opener", opener), ("user", user)), (("user", user), ("opener", opener))):
        tables = load(*order)
        assert tables.failures == ()
        assert set(tables.items("tfgraphopt_acme_anvils")) == {"light", "heavy"}
        assert tables.owner("tfgraphopt_acme_anvils", "heavy") == "user"


# -- what goes wrong -----------------------------------------------------------------------------------------------------


def _raising() -> Iterator[Any]:
    yield GELU
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (plugin(passes=lambda: [Tidy()]), r"(?s)bad, hook tfgraphopt_passes failed.*none of its passes"),
        (
            plugin(op_defs=lambda: ["AcmeGelu"]),
            r"(?s)hook tfgraphopt_op_defs failed.*'AcmeGelu' is none of its op definitions",
        ),
        (plugin(pipelines=lambda: {"quick": "tidy"}), "none of its pipelines"),
        (plugin(passes=lambda: [type("Bad", (Pass,), {"name": "No Kebab"})]), "kebab-case"),
        (plugin(op_defs=_raising), "(?s)hook tfgraphopt_op_defs failed.*boom"),
        (plugin(op_defs=lambda: 5), "hook tfgraphopt_op_defs failed"),
        (plugin(op_defs=lambda config: []), "does not fit the hooks"),
        (plugin(no_such_hook=lambda: [GELU]), "does not fit the hooks"),
        (plugin(addhooks=lambda pluginmanager: 1 / 0), "(?s)does not fit the hooks.*ZeroDivisionError"),
        (type("Plugin", (), {}), "is a class; register an instance or a module"),
    ],
)
def test_a_broken_plugin_is_named_and_leaves_the_others_working(bad: object, message: str) -> None:
    good = plugin(passes=lambda: [Tidy])
    tables = load(("bad", bad), ("good", good))
    (failure,) = tables.failures
    assert failure.where == ("bad",)
    with pytest.raises(PluginError, match=message):
        raise failure
    assert tables.items("tfgraphopt_passes") == (Tidy,)
    assert tables.items("tfgraphopt_op_defs") == ()
    with pytest.raises(PluginError, match=message):
        load(("bad", bad), ("good", good), strict=True)


def test_hooks_that_may_be_absent_are_optional() -> None:
    found = ModuleType("made")
    found.tfgraphopt_absent_things = hookimpl(optionalhook=True)(lambda: [1])  # type: ignore[attr-defined]
    tables = load(("acme", found))
    assert tables.failures == ()
    assert tables.items("tfgraphopt_absent_things") == ()
    assert tables.call("tfgraphopt_absent_things", {}) == []


def test_two_plugins_of_one_name_keep_the_first() -> None:
    tables = load(("acme", plugin(passes=lambda: [Tidy])), ("acme", plugin(op_defs=lambda: [GELU])))
    assert tables.items("tfgraphopt_passes") == (Tidy,)
    assert "has the name of another plugin" in str(tables.failures[0])


def test_events_and_questions_that_fail_name_the_plugin() -> None:
    tables = load(("acme", plugin(finished=lambda report: 1 / 0)))
    with pytest.raises(PluginError, match="plugin acme, hook tfgraphopt_finished failed"):
        tables.call("tfgraphopt_finished", {"report": None})

    def refuse(config: Any) -> Any:
        raise ConfigError("no such directory")

    with pytest.raises(ConfigError, match="no such directory") as caught:
        load(("acme", plugin(instruments=refuse))).call("tfgraphopt_instruments", {"config": None})
    assert "plugin acme" in caught.value.__notes__[0]


# -- clashes -------------------------------------------------------------------------------------------------------------

ONE, TWO = ("one", plugin(passes=lambda: [Tidy])), ("two", plugin(passes=lambda: [OtherTidy]))
BETTER = ("better", plugin(passes=lambda: [BetterTidy]))


def test_a_clash_names_both_plugins() -> None:
    with pytest.raises(PluginError, match="plugins 'one' and 'two' both claim 'tidy'") as caught:
        load(TWO, ONE)
    assert caught.value.where == ("one", "two")
    assert "prefer one of them" in caught.value.hint


def test_a_declared_override_wins_whatever_the_order() -> None:
    for order in ((ONE, BETTER), (BETTER, ONE)):
        assert load(*order).items("tfgraphopt_passes") == (BetterTidy,)
    with pytest.raises(PluginError, match=r"'better' and 'two' .*claim"):  # it does not say that it overrides two
        load(TWO, BETTER)


def test_the_callers_preference_wins_over_everything() -> None:
    assert load(ONE, TWO, prefer={"tidy": "two"}).items("tfgraphopt_passes") == (OtherTidy,)
    assert load(ONE, BETTER, prefer={"tidy": "one"}).items("tfgraphopt_passes") == (Tidy,)
    assert load(ONE, TWO, BETTER, prefer={"tidy": "better"}).owner("tfgraphopt_passes", "tidy") == "better"
    with pytest.raises(PluginError, match="both claim"):
        load(ONE, TWO, prefer={"tidy": "three"})


def test_blocking_one_settles_it() -> None:
    assert load(ONE, TWO, block=["one"]).items("tfgraphopt_passes") == (OtherTidy,)


def test_order_of_loading_does_not_matter() -> None:
    other = ("ops", plugin(op_defs=lambda: [GELU, OpDef("AcmeAbs")]))
    tables = [load(*order) for order in ((ONE, other), (other, ONE))]
    assert tables[0].contributions == tables[1].contributions


def test_tables_are_immutable_and_not_shared() -> None:
    tables = load(ONE)
    with pytest.raises(TypeError):
        tables.by_key["tfgraphopt_passes"]["x"] = None  # type: ignore[index]
    assert load().items("tfgraphopt_passes") == ()


# -- entry points --------------------------------------------------------------------------------------------------------


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution of three plugins: one works, one cannot be imported, one is a class."""
    info = tmp_path / "acme_plugins-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugins\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[tfgraphopt]\nlisted-good = listed_good_plugin\nlisted-broken = listed_broken_plugin\nlisted-class = listed_good_plugin:Plugin\n"
    )
    (tmp_path / "listed_good_plugin.py").write_text(
        "from tfgraphopt.hookspecs import hookimpl\nfrom tfgraphopt.ir import OpDef\n"
        "@hookimpl\ndef tfgraphopt_op_defs():\n    return [OpDef('AcmeAbs')]\nclass Plugin:\n    pass\n"
    )
    (tmp_path / "listed_broken_plugin.py").write_text("import acme_module_that_is_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path  # type: ignore[misc]
    for name in ("listed_good_plugin", "listed_broken_plugin"):
        sys.modules.pop(name, None)


ACME = ["listed-good", "listed-broken", "listed-class"]


def test_entry_points_load_one_by_one(distribution: Path) -> None:
    tables = plugins.load(only=ACME)
    (info,) = tables.plugins
    assert info == plugins.PluginInfo("listed-good", "acme-plugins", "1.2", ("tfgraphopt_op_defs",))
    assert str(info) == "listed-good (acme-plugins 1.2)"
    assert tables.table("tfgraphopt_op_defs") == {"AcmeAbs": OpDef("AcmeAbs")}
    broken, wrong = tables.failures
    assert "plugin listed-broken (acme-plugins 1.2) cannot be imported" in str(broken)
    assert "acme_module_that_is_missing" in str(broken)
    assert isinstance(broken.__cause__, ModuleNotFoundError)
    assert "plugin listed-class (acme-plugins 1.2) is a class" in str(wrong)
    with pytest.raises(PluginError, match="listed-broken"):
        plugins.load(only=ACME, strict=True)


def test_plugins_are_switched_off_by_argument_and_environment(
    distribution: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not plugins.load(only=ACME, block=ACME).plugins
    monkeypatch.setenv(plugins.DISABLE_VARIABLE, "listed-good,listed-broken")
    tables = plugins.load(only=ACME)
    assert tables.plugins == ()
    assert [f.where for f in tables.failures] == [("listed-class",)]
    assert not load(("listed-good", plugin(op_defs=lambda: [GELU]))).plugins


def test_without_plugins_every_table_is_empty() -> None:
    tables = load()
    assert (tables.plugins, tables.failures) == ((), ())
    assert set(tables.by_key) >= {"tfgraphopt_passes", "tfgraphopt_op_defs"}
    assert not any(tables.by_key.values())


def test_managers_are_not_kept() -> None:
    load(ONE)
    assert not [
        o for module in (plugins, hookspecs) for o in vars(module).values() if isinstance(o, pluggy.PluginManager)
    ]
