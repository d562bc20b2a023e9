"""Configuration files: every option of every command as TOML.

Keys are the names of options without dashes in front. At the top they hold for every command that has the option, in a table named
after a command for that one alone. An option that repeats takes a list; one of the form ``KEY=VALUE`` also a table::

    precision = "fp16"
    shape = { x = "1x224x224x3:8x224x224x3:32x224x224x3" }

    [option.int8]
    calibrator = "entropy"

    [bench]
    seconds = 20
"""

from __future__ import annotations

import argparse
import difflib
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfgraphopt.cli.common import VALUES
from tfgraphopt.cli.parser import Parsers
from tfgraphopt.errors import ConfigError

Options = Mapping[str, argparse.Action]
_OWN = frozenset({"help", "config", "print_config", "version"})


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """What a file may say for a command: its options by name, positional arguments included."""
    return {_key(a): a for a in parser._actions if a.dest not in _OWN}


def _key(action: argparse.Action) -> str:
    return max(action.option_strings, key=len).lstrip("-") if action.option_strings else action.dest


def prepare(parsers: Parsers, arguments: Sequence[str]) -> None:
    """Let the file that ``--config`` names in ``arguments`` set defaults of its command, before they are parsed.

    Raises:
        ConfigError: the file cannot be read, names an unknown option, or gives one a wrong value.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path)
    early.add_argument("--print-config", action="store_true")
    known, rest = early.parse_known_args(arguments)
    command = next((word for word in rest if word in parsers.commands), None)
    if command is None:
        return
    parser = parsers.commands[command]
    if known.config is not None:
        _apply(parser, _values_for(command, parsers, _read(known.config), known.config), known.config)
    if known.print_config:
        for action in parser._actions:
            _relax(action, action.default)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is no configuration file", why=str(error), hint="it must be TOML") from error


def _values_for(command: str, parsers: Parsers, tree: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What the file says for one command; every key of the file is checked, whichever command it is for."""
    options = {name: options_of(parser) for name, parser in parsers.commands.items()}
    tables = {k: v for k, v in tree.items() if k in options and isinstance(v, dict)}
    common = {k: v for k, v in tree.items() if k not in tables}
    _check_keys(common, {k for each in options.values() for k in each}, path, "any command")
    for name, table in tables.items():
        _check_keys(table, options[name], path, name)
    mine = {k: v for k, v in common.items() if k in options[command]}
    return mine | tables.get(command, {})


def _check_keys(found: Iterable[str], known: Iterable[str], path: Path, whose: str) -> None:
    known = sorted(known)
    for key in found:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"tfgraphopt {whose} --print-config lists them"
            raise ConfigError(f"{path}: {key!r} is no option of {whose}", hint=hint)


def _apply(parser: argparse.ArgumentParser, values: Mapping[str, Any], path: Path) -> None:
    options = options_of(parser)
    for key, value in values.items():
        action = options[key]
        try:
            _relax(action, _reader(action)(action, value))
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            raise ConfigError(f"{path}: {key} = {value!r} is wrong", why=str(error)) from error


def _relax(action: argparse.Action, default: Any) -> None:
    """Make ``default`` the value of an argument that the command line then need not give; its help tells the usual one."""
    action.help = (action.help or "").replace("%(default)s", str(action.default).replace("%", "%%"))
    action.default = default
    action.required = False
    if not action.option_strings and action.nargs is None:
        action.nargs = "?"


# -- values --------------------------------------------------------------------------------------------------------------


def _reader(action: argparse.Action) -> Callable[[argparse.Action, Any], Any]:
    if action.nargs == 0:
        return _flag
    if isinstance(action, argparse._AppendAction) or action.nargs in ("*", "+"):
        return _list
    return _scalar


def _flag(action: argparse.Action, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it is true or false")
    return value


def _list(action: argparse.Action, value: Any) -> list[Any]:
    return [_scalar(action, text) for text in _texts(value, lists_are_values=action.metavar == VALUES)]


def _scalar(action: argparse.Action, value: Any) -> Any:
    if isinstance(value, bool | dict | list):
        raise TypeError(f"one value is wanted, not a {type(value).__name__}")
    convert: Any = action.type or str
    made = convert(str(value))
    if action.choices is not None and made not in action.choices:
        raise ValueError(f"it is one of {', '.join(map(str, action.choices))}")
    return made


def _texts(value: Any, *, lists_are_values: bool) -> Iterable[str]:
    """A list as it is, a table as KEY=VALUE texts, nested tables with dots between their keys.

    A list in a table is one value where values are TOML, and else as many texts: a shape for every profile.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _pairs(key, inner, lists_are_values)
    elif isinstance(value, list):
        yield from map(str, value)
    else:
        raise TypeError(f"a list or a table is wanted, not a {type(value).__name__}")


def _pairs(key: str, value: Any, lists_are_values: bool) -> Iterable[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _pairs(f"{key}.{name}", inner, lists_are_values)
    elif isinstance(value, list) and lists_are_values:
        yield f"{key}={_toml(value)}"
    elif isinstance(value, list):
        yield from (f"{key}={each}" for each in value)
    else:
        yield f"{key}={str(value).lower() if isinstance(value, bool) else value}"


# -- printing ------------------------------------------------------------------------------------------------------------


def print_settings(command: str, parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """All options of a command as a file that ``--config`` reads back; those that have no value are commented out."""
    lines = [f"# options of `tfgraphopt {command}`", f"[{command}]"]
    for key, action in options_of(parser).items():
        text = _meaning(action)
        lines += ["", *textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ")]
        lines.append(_line(key, getattr(options, action.dest)))
    return "\n".join(lines) + "\n"


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "") % {"default": action.default}
    return text + (f" (one of {', '.join(map(str, action.choices))})" if action.choices else "")


def _line(key: str, value: Any) -> str:
    if value is None:
        return f"# {key} ="
    return f"{key} = {_toml(_plain(value))}"


def _toml(value: Any) -> str:
    import tomli_w

    return tomli_w.dumps({"value": value}, multiline_strings=False).partition("=")[2].strip()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
