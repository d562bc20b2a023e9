"""Loading plugins and collecting what they contribute into immutable tables, anew for every optimisation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import attrs
import pluggy

from tfgraphopt import hookspecs
from tfgraphopt.errors import PluginError, TfGraphOptError
from tfgraphopt.hookspecs import PROJECT, Contributes

DISABLE_VARIABLE = "TFGRAPHOPT_DISABLE_PLUGINS"


@attrs.frozen(slots=True)
class PluginInfo:
    """One plugin: its entry-point name, the distribution and version it came with, and the hooks it implements."""

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})" if self.distribution else self.name


@attrs.frozen(slots=True)
class Contribution:
    """One contributed item with the plugin it came from."""

    plugin: str
    item: Any


@attrs.frozen(slots=True)
class Tables:
    """Everything the loaded plugins contribute: per hook, the items by the key they claim. Immutable."""

    plugins: tuple[PluginInfo, ...]
    failures: tuple[PluginError, ...]
    contributions: Mapping[str, tuple[Contribution, ...]]
    by_key: Mapping[str, Mapping[str, Contribution]]
    call: Callable[[str, Mapping[str, Any]], list[Any]] = attrs.field(repr=False, default=lambda name, args: [])

    def items(self, hook: str) -> tuple[Any, ...]:
        """The items of ``hook`` that survive overrides, ordered by plugin and key; none when the hook does not exist."""
        seen = {id(c): c.item for c in self.by_key.get(hook, {}).values()}
        return tuple(seen.values())

    def table(self, hook: str) -> Mapping[str, Any]:
        """The items of ``hook`` by the keys they claim."""
        return {key: c.item for key, c in self.by_key.get(hook, {}).items()}

    def owner(self, hook: str, key: str) -> str:
        """The name of the plugin whose item holds ``key``."""
        return self.by_key[hook][key].plugin


def load(
    *,
    block: Iterable[str] = (),
    only: Iterable[str] | None = None,
    extra: Iterable[tuple[str, object]] = (),
    prefer: Mapping[str, str] | None = None,
    strict: bool = False,
) -> Tables:
    """Load the plugins of every installed distribution and collect their contributions.

    Args:
        block: entry-point names not to load (added to those in ``TFGRAPHOPT_DISABLE_PLUGINS``, comma separated).
        only: if given, load no others.
        extra: (name, module or object) pairs to load besides.
        prefer: for a key that two plugins claim, the plugin to take.
        strict: raise at the first plugin that fails instead of leaving it out.

    Raises:
        PluginError: two plugins claim one key and nothing decides, or, when strict, a plugin is broken.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.hook.tfgraphopt_addhooks.call_historic(kwargs={"pluginmanager": manager})
    loader = _Loader(manager, strict)
    blocked = {*block, *switched_off()}
    wanted = None if only is None else set(only)
    for point in sorted(entry_points(group=PROJECT), key=lambda p: p.name):
        if point.name not in blocked and (wanted is None or point.name in wanted):
            loader.load_entry_point(point)
    for name, plugin in extra:
        if name not in blocked:
            loader.register(PluginInfo(name), plugin)
    return loader.collect(prefer or {})


def switched_off() -> frozenset[str]:
    """The plugins that ``TFGRAPHOPT_DISABLE_PLUGINS`` names."""
    return frozenset(name for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name)


@attrs.define(slots=True)
class _Loader:
    manager: pluggy.PluginManager
    strict: bool
    infos: dict[str, PluginInfo] = attrs.field(factory=dict)
    failures: list[PluginError] = attrs.field(factory=list)

    def load_entry_point(self, point: EntryPoint) -> None:
        info = PluginInfo(point.name, point.dist.name if point.dist else "", point.dist.version if point.dist else "")
        try:
            plugin = point.load()
        except Exception as error:
            self._fail(info, "", "cannot be imported", error)
            return
        self.register(info, plugin)

    def register(self, info: PluginInfo, plugin: object) -> None:
        if isinstance(plugin, type):
            self._fail(info, "", "is a class; register an instance or a module", None)
            return
        if info.name in self.infos:
            self._fail(info, "", f"has the name of another plugin, {self.infos[info.name]}", None)
            return
        try:
            self.manager.register(plugin, info.name)
        except Exception as error:
            self._reject(info, error)
            return
        self.infos[info.name] = info

    def check_pending(self) -> None:
        """Reject plugins that implement hooks nobody specifies (after all are loaded: order must not matter)."""
        while True:
            try:
                self.manager.check_pending()
            except pluggy.PluginValidationError as error:
                name = self.manager.get_name(error.plugin) or ""
                self._reject(self.infos.pop(name), error)
            else:
                return

    def _reject(self, info: PluginInfo, error: Exception) -> None:
        if self.manager.has_plugin(info.name):
            self.manager.unregister(name=info.name)
        self._fail(info, "", "does not fit the hooks", error)

    def _fail(self, info: PluginInfo, hook: str, what: str, cause: Exception | None) -> None:
        error = _failure(info, hook, what, cause)
        if self.strict:
            raise error
        self.failures.append(error)

    def collect(self, prefer: Mapping[str, str]) -> Tables:
        self.check_pending()
        contributions: dict[str, tuple[Contribution, ...]] = {}
        by_key: dict[str, Mapping[str, Contribution]] = {}
        for hook, spec in self._specs().items():
            found = self._call_each(hook, spec)
            contributions[hook] = tuple(found)
            by_key[hook] = MappingProxyType(_resolve(hook, spec, found, prefer))
        infos = [attrs.evolve(i, hooks=self._hooks_of(i.name)) for i in self.infos.values()]
        return Tables(
            tuple(infos), tuple(self.failures), MappingProxyType(contributions), MappingProxyType(by_key), self._call
        )

    def _specs(self) -> dict[str, Contributes]:
        specs: dict[str, Contributes] = {}
        for name, caller in vars(self.manager.hook).items():
            spec = getattr(caller, "spec", None)
            mark = getattr(getattr(spec, "function", None), "tfgraphopt_contributes", None)
            if isinstance(mark, Contributes):
                specs[name] = mark
        return dict(sorted(specs.items()))

    def _call_each(self, hook: str, spec: Contributes) -> list[Contribution]:
        found: list[Contribution] = []
        for impl in getattr(self.manager.hook, hook).get_hookimpls():
            info = self.infos[impl.plugin_name]
            try:
                items = list(impl.function() or ())
                wrong = [i for i in items if not spec.item(i)]
                if wrong:
                    raise TypeError(f"{wrong[0]!r} is none of its {spec.noun}")
            except Exception as error:
                self._fail(info, hook, "failed", error)
                continue
            found += [Contribution(info.name, item) for item in items]
        return sorted(found, key=lambda c: (c.plugin, sorted(spec.keys(c.item))))

    def _hooks_of(self, name: str) -> tuple[str, ...]:
        plugin = self.manager.get_plugin(name)
        callers = self.manager.get_hookcallers(plugin) or []
        return tuple(sorted(c.name for c in callers))

    def _call(self, hook: str, arguments: Mapping[str, Any]) -> list[Any]:
        """What the implementations of ``hook`` return, the last registered first; PluginError names the one that raised."""
        caller = getattr(self.manager.hook, hook, None)
        results: list[Any] = []
        for impl in reversed(caller.get_hookimpls() if caller is not None and caller.has_spec() else ()):
            info = self.infos[impl.plugin_name]
            try:
                result = impl.function(*(arguments[name] for name in impl.argnames))
            except TfGraphOptError as error:
                error.add_note(f"raised by plugin {info}, hook {hook}")
                raise
            except Exception as error:
                raise _failure(info, hook, "failed", error) from error
            results += [] if result is None else [result]
        return results


def _failure(info: PluginInfo, hook: str, what: str, cause: Exception | None) -> PluginError:
    where = f"{info}, hook {hook}" if hook else str(info)
    error = PluginError(f"plugin {where} {what}", where=(info.name,), why=repr(cause) if cause else "")
    error.__cause__ = cause
    return error


def _resolve(
    hook: str, spec: Contributes, found: Sequence[Contribution], prefer: Mapping[str, str]
) -> dict[str, Contribution]:
    claims: dict[str, list[Contribution]] = {}
    for contribution in found:
        for key in spec.keys(contribution.item):
            claims.setdefault(key, []).append(contribution)
    return {key: _choose(hook, key, rivals, prefer.get(key)) for key, rivals in claims.items()}


def _choose(hook: str, key: str, rivals: Sequence[Contribution], wanted: str | None) -> Contribution:
    left = [c for c in rivals if c.plugin == wanted]
    if not left:
        overridden = {getattr(c.item, "overrides", "") for c in rivals}
        left = [c for c in rivals if c.plugin not in overridden]
    if len(left) == 1:
        return left[0]
    names = sorted({c.plugin for c in rivals})
    raise PluginError(
        f"plugins {' and '.join(map(repr, names))} {'both' if len(rivals) == 2 else 'all'} claim {key!r} ({hook})",
        where=names,
        hint=f"prefer one of them ({{{key!r}: {names[0]!r}}}), switch one off, or let one declare that it overrides the other",
    )
