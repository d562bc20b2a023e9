"""Pipelines: text that parses and prints, Python objects that can be edited, and default orders that are solved.

Grammar: ``steps := step ("," step)*``; ``step := NAME options? | "fixpoint" "(" steps ")" options?``;
``options := "{" NAME "=" value ("," NAME "=" value)* "}"``; a value is a number, ``true``, ``false``, ``none``, a word, a quoted
string, or ``[value, ...]``. Law: ``str(parse(text))`` is a fixed point of parsing and printing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.errors import ParseError, PipelineError
from tfgraphopt.passes import Fixpoint, Pass, PassTable, Step

_TOKEN = re.compile(r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<punct>[(){}\[\],=])|(?P<word>[^\s(){}\[\],="]+))""")
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None}
_BARE = re.compile(r"[A-Za-z_./:*^$+|\\-][A-Za-z0-9_./:*^$+|\\-]*")


def _steps(steps: Iterable[Step]) -> tuple[Step, ...]:
    return tuple(steps)


@attrs.frozen(slots=True)
class Pipeline:
    """An ordered list of steps. Every edit returns a new pipeline."""

    steps: tuple[Step, ...] = attrs.field(converter=_steps)

    @classmethod
    def parse(cls, text: str, passes: PassTable) -> Pipeline:
        """The pipeline that ``text`` describes.

        Raises:
            ParseError: the text is not a pipeline; the message shows where.
            PipelineError: an unknown pass (similar names are suggested) or a wrong option.
        """
        return cls(_Parser(text, passes).parse())

    def __str__(self) -> str:
        return ",".join(str(step) for step in self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all passes, flat."""
        return tuple(p.name for p in flatten(self.steps))

    def before(self, name: str, *steps: Step) -> Pipeline:
        """With ``steps`` just before the first step that is or contains pass ``name``."""
        index = self._index(name)
        return Pipeline((*self.steps[:index], *steps, *self.steps[index:]))

    def after(self, name: str, *steps: Step) -> Pipeline:
        """With ``steps`` just after the last step that is or contains pass ``name``."""
        index = self._index(name, last=True) + 1
        return Pipeline((*self.steps[:index], *steps, *self.steps[index:]))

    def replace(self, name: str, *steps: Step) -> Pipeline:
        """With ``steps`` in place of pass ``name`` wherever it stands."""
        self._index(name)
        return Pipeline(_edited(self.steps, name, steps))

    def drop(self, name: str) -> Pipeline:
        """Without pass ``name``."""
        return self.replace(name)

    def _index(self, name: str, last: bool = False) -> int:
        found = [i for i, step in enumerate(self.steps) if name in {p.name for p in flatten((step,))}]
        if not found:
            raise PipelineError(f"no pass {name!r} in the pipeline", why=f"it has {', '.join(self.names) or 'nothing'}")
        return found[-1 if last else 0]

    def validate(self) -> Pipeline:
        """Itself, when its order satisfies every pass; PipelineError naming the two passes otherwise."""
        check_order(tuple(flatten(self.steps)))
        return self


def flatten(steps: Iterable[Step]) -> Iterator[Pass]:
    """The passes of ``steps`` in order, those inside fixpoints included."""
    for step in steps:
        if isinstance(step, Fixpoint):
            yield from flatten(step.steps)
        else:
            yield step


def _edited(steps: Sequence[Step], name: str, new: Sequence[Step]) -> tuple[Step, ...]:
    result: list[Step] = []
    for step in steps:
        if isinstance(step, Fixpoint):
            inner = _edited(step.steps, name, new)
            result += [attrs.evolve(step, steps=inner)] if inner else []
        else:
            result += new if step.name == name else [step]
    return tuple(result)


def check_order(passes: Sequence[Pass]) -> None:
    """PipelineError when a pass stands where it must not, naming it and the other one."""
    last = {p.name: i for i, p in enumerate(passes)}
    first = {p.name: len(passes) - 1 - i for i, p in enumerate(reversed(passes))}
    for index, step in enumerate(passes):
        for name in step.after:
            if first.get(name, -1) > index:
                raise PipelineError(f"pass {step.name!r} must come after {name!r}", where=(step.name, name))
        for name in step.before:
            if last.get(name, index) < index:
                raise PipelineError(f"pass {step.name!r} must come before {name!r}", where=(step.name, name))
    _check_facts(passes)


def _check_facts(passes: Sequence[Pass]) -> None:
    provider: dict[str, str] = {}
    dropper: dict[str, str] = {}
    for step in passes:
        for fact in sorted(step.needs - provider.keys()):
            if fact in dropper:
                raise PipelineError(f"pass {step.name!r} needs {fact!r}, which {dropper[fact]!r} drops before it")
            raise PipelineError(f"pass {step.name!r} needs {fact!r}, which no pass before it provides")
        for fact in step.drops:
            provider.pop(fact, None)
            dropper[fact] = step.name
        for fact in step.provides:
            provider[fact] = step.name


def solve(passes: Iterable[Pass]) -> Pipeline:
    """A stable topological order of ``passes`` by after/before and needs/provides, ties by name.

    Raises:
        PipelineError: the wishes contradict each other; the message names passes on the cycle.
    """
    by_name = {p.name: p for p in sorted(passes, key=lambda p: p.name)}
    earlier: dict[str, set[str]] = {name: set() for name in by_name}
    for name, step in by_name.items():
        earlier[name] |= {a for a in step.after if a in by_name}
        for later in step.before:
            if later in by_name:
                earlier[later].add(name)
        for other in by_name.values():
            if other.provides & step.needs and other is not step:
                earlier[name].add(other.name)
    order: list[Pass] = []
    while earlier:
        ready = [name for name, needed in earlier.items() if not needed]
        if not ready:
            raise PipelineError("the wishes of these passes contradict each other", where=_cycle(earlier))
        order.append(by_name[ready[0]])
        del earlier[ready[0]]
        for needed in earlier.values():
            needed.discard(ready[0])
    return Pipeline(order)


def _cycle(earlier: Mapping[str, set[str]]) -> list[str]:
    """Passes each of which must come after the next, and the last after the first."""
    path = [min(earlier)]
    while (needed := min(earlier[path[-1]])) not in path:
        path.append(needed)
    return path[path.index(needed) :]


# -- text ----------------------------------------------------------------------------------------------------------------


def format_options(options: Mapping[str, Any]) -> str:
    """``{name=value,...}``, or nothing when there are none."""
    if not options:
        return ""
    return "{" + ",".join(f"{k.replace('_', '-')}={format_value(v)}" for k, v in options.items()) + "}"


def format_value(value: Any) -> str:
    """One option value as text."""
    for word, meaning in _WORDS.items():
        if value is meaning:
            return word
    if isinstance(value, (tuple, list, frozenset, set)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return "[" + ",".join(format_value(v) for v in items) + "]"
    if isinstance(value, str) and (not _BARE.fullmatch(value) or not isinstance(_literal(value), str)):
        return json.dumps(value)
    return repr(value) if isinstance(value, (int, float)) else str(value)


class _Parser:
    """Recursive descent over the tokens of one pipeline text."""

    def __init__(self, text: str, passes: PassTable) -> None:
        self.text = text
        self.passes = passes
        self.tokens = list(self._tokens())
        self.at = 0

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        position = 0
        while position < len(self.text.rstrip()):
            match = _TOKEN.match(self.text, position)
            if match is None:
                raise self._error(position, "a pass name, a number or one of (){}[],= is expected")
            kind = match.lastgroup or ""
            yield kind, match.group(kind), match.start(kind)
            position = match.end()

    def parse(self) -> tuple[Step, ...]:
        if not self.tokens:
            return ()
        steps = self._steps()
        if self.at < len(self.tokens):
            raise self._error(self.tokens[self.at][2], f"unexpected {self.tokens[self.at][1]!r}")
        return steps

    def _steps(self) -> tuple[Step, ...]:
        steps = [self._step()]
        while self._accept(","):
            steps.append(self._step())
        return tuple(steps)

    def _step(self) -> Step:
        name, position = self._word()
        if self._accept("("):
            if name != "fixpoint":
                raise self._error(position, f"{name!r} takes no passes in parentheses; only fixpoint does")
            inner = self._steps()
            self._expect(")")
            return _construct(Fixpoint, name, {"steps": inner, **self._options()})
        if name not in self.passes:
            raise PipelineError(f"there is no pass {name!r}", hint=_similar(name, self.passes))
        return _construct(self.passes[name], name, self._options())

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if not self._accept("{"):
            return options
        while True:
            name, _ = self._word()
            self._expect("=")
            options[name.replace("-", "_")] = self._value()
            if not self._accept(","):
                break
        self._expect("}")
        return options

    def _value(self) -> Any:
        if self._accept("["):
            items: list[Any] = []
            while not self._accept("]"):
                items.append(self._value())
                if not self._accept(","):
                    self._expect("]")
                    break
            return tuple(items)
        kind, text, _ = self._next()
        return json.loads(text) if kind == "string" else _literal(text)

    def _next(self) -> tuple[str, str, int]:
        if self.at >= len(self.tokens):
            raise self._error(len(self.text), "the text ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def _word(self) -> tuple[str, int]:
        kind, text, position = self._next()
        if kind != "word":
            raise self._error(position, f"a name is expected, not {text!r}")
        return text, position

    def _accept(self, punct: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at][:2] == ("punct", punct):
            self.at += 1
            return True
        return False

    def _expect(self, punct: str) -> None:
        _, text, position = self._next()
        if text != punct:
            raise self._error(position, f"{punct!r} is expected, not {text!r}")

    def _error(self, position: int, why: str) -> ParseError:
        return ParseError(
            "the pipeline text does not parse",
            where=(f"column {position + 1}",),
            why=f"{why}\n    {self.text}\n    {' ' * position}^",
        )


def _literal(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _construct(cls: Any, name: str, options: Mapping[str, Any]) -> Step:
    known = {f.name for f in attrs.fields(cls)}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise PipelineError(
            f"pass {name!r} has no option {unknown[0].replace('_', '-')!r}", hint=f"it has {sorted(known) or 'none'}"
        )
    try:
        step: Step = cls(**options)
    except (TypeError, ValueError) as error:
        raise PipelineError(f"an option of pass {name!r} is wrong", why=str(error)) from error
    return step


def _similar(name: str, passes: PassTable) -> str:
    import difflib

    close = difflib.get_close_matches(name, passes, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(passes))}"
