"""Parsing the text form of the IR; the form itself is described in :mod:`tfgraphopt.ir.text`."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import attrs
import numpy as np

from tfgraphopt.errors import ParseError
from tfgraphopt.ir.core import CONSTANT_OPS, Graph, Module
from tfgraphopt.ir.opdef import AttrPlaceholder, AttrValue, FuncRef, OpTable
from tfgraphopt.ir.tensor import Tensor
from tfgraphopt.ir.types import DType, Shape, TensorType
from tfgraphopt.ir.written import Builder, Ref, Statement, WrittenBody, WrittenGraph, WrittenModule, signature

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_NAME = rf"(?:{_QUOTED}|[A-Za-z0-9_./-]+)"
_TOKEN = re.compile(
    rf"""(?P<space>(?:\s|\#[^\n]*)+) | (?P<string>b?{_QUOTED}) | (?P<arrow>->) | (?P<value>%{_NAME}(?::\d+)?)
    | (?P<control>\^{_NAME}) | (?P<symbol>@{_NAME}) | (?P<at>@) | (?P<placeholder>\${_NAME}) | (?P<sha>sha:[0-9a-f]+)
    | (?P<number>0x[0-9a-f]+|[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf|nan)(?![A-Za-z0-9_.])) | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<punct>[(){{}}\[\],=:?*])""",
    re.VERBOSE,
)
_CONSTANTS: Mapping[str, AttrValue] = {"true": True, "false": False, "none": None}
_DTYPES = {dtype.text: dtype for dtype in DType}


def parse_graph(text: str, ops: OpTable, *, tensors: Mapping[str, Tensor] | None = None) -> Graph:
    """The graph that ``text`` describes, its ops defined by ``ops``.

    Args:
        text: one ``graph`` (or ``function``) as :func:`tfgraphopt.ir.text.print_graph` writes it.
        tensors: the constants that the text names by digest.

    Raises:
        ParseError: showing line and column; also for a digest that ``tensors`` does not have.
    """
    parser = _Parser(text, tensors or {})
    keyword = parser.word("graph", "function")
    written = parser.graph(keyword)
    parser.end()
    return Builder(parser.fail, ops).build(written)


def parse_module(
    text: str, ops: OpTable, *, tensors: Mapping[str, Tensor] | None = None, opaque: Mapping[str, object] | None = None
) -> Module:
    """The module that ``text`` describes; see :func:`parse_graph`. ``opaque`` gives the functions that the text only names."""
    parser = _Parser(text, tensors or {})
    written = parser.module(opaque or {})
    parser.end()
    functions = [g for g in written.graphs if g.keyword == "function"]
    table = ops.with_defs([signature(g) for g in functions if ops.get(g.name) is None])
    builder = Builder(parser.fail, table)
    built = [builder.build(g) for g in written.graphs]
    module = Module(built[0], table, gradients=written.gradients, versions=written.versions)
    module.opaque_functions.update(written.opaque)
    for graph, source in zip(built[1:], written.graphs[1:], strict=True):
        if source.keyword == "function":
            module.add_function(graph)
        else:
            graph.functions = module.functions.get
            module.lowered[source.beside] = graph
    return module


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, tensors: Mapping[str, Tensor]) -> None:
        self.text = text
        self.tensors = tensors
        self.tokens = [*self._scan(), _Token("end", "", len(text.rstrip()))]
        self.at = 0

    def _scan(self) -> Iterator[_Token]:
        position = 0
        while position < len(self.text):
            match = _TOKEN.match(self.text, position)
            if match is None:
                self.fail(position, f"unexpected character {self.text[position]!r}")
            if match.lastgroup != "space":
                yield _Token(match.lastgroup or "", match.group(), position)
            position = match.end()

    def fail(self, position: int, why: str) -> NoReturn:
        """Raise a ParseError that shows the place."""
        line = self.text.count("\n", 0, position) + 1
        start = self.text.rfind("\n", 0, position) + 1
        shown = self.text[start:].partition("\n")[0]
        column = position - start
        place = f"line {line}, column {column + 1}"
        raise ParseError("the IR text does not parse", where=(place,), why=f"{why}\n    {shown}\n    {' ' * column}^")

    # -- tokens ------------------------------------------------------------------------------------------------------

    @property
    def token(self) -> _Token:
        """The token that comes next."""
        return self.tokens[self.at]

    def take(self, kind: str, what: str) -> _Token:
        """The next token, which must be of ``kind``."""
        token = self.token
        if token.kind != kind:
            self.fail(token.at, f"{what} is expected, not {token.text or 'the end of the text'!r}")
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        """Step over ``text`` if it comes next."""
        if self.token.text == text and self.token.kind in ("punct", "word", "at", "arrow"):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Step over ``text``, which must come next."""
        if not self.accept(text):
            self.fail(self.token.at, f"{text!r} is expected, not {self.token.text or 'the end of the text'!r}")

    def word(self, *allowed: str) -> str:
        """The next word, one of ``allowed`` if any are given; a quoted string counts as a word then not."""
        if not allowed and self.token.kind == "string":
            return self._string()
        token = self.take("word", " or ".join(allowed) or "a name")
        if allowed and token.text not in allowed:
            self.fail(token.at, f"{' or '.join(allowed)} is expected, not {token.text!r}")
        return token.text

    def end(self) -> None:
        """Nothing may follow."""
        self.take("end", "the end of the text")

    def _string(self) -> str:
        token = self.take("string", "a quoted string")
        value = self._unquote(token.text, token.at)
        if not isinstance(value, str):
            self.fail(token.at, "a text is expected, not bytes")
        return value

    def _unquote(self, text: str, at: int) -> str | bytes:
        try:
            value: str | bytes = ast.literal_eval(text) if text.startswith("b") else json.loads(text, strict=False)
        except (ValueError, SyntaxError) as error:
            self.fail(at, f"the quoted text is wrong: {error}")
        return value

    def _bare(self, token: _Token) -> str:
        """The name in a token such as %name or @"na me"."""
        text = token.text[1:]
        return str(self._unquote(text, token.at)) if text.startswith('"') else text

    def _value_name(self, what: str = "a value (%name)") -> tuple[Ref, int]:
        token = self.take("value", what)
        match = re.fullmatch(rf"%({_NAME})(?::(\d+))?", token.text, re.DOTALL)
        assert match is not None
        name = str(self._unquote(match[1], token.at)) if match[1].startswith('"') else match[1]
        return (name, int(match[2] or 0)), token.at

    def _symbol(self) -> str:
        return self._bare(self.take("symbol", "a name (@name)"))

    # -- graphs ------------------------------------------------------------------------------------------------------

    def module(self, opaque: Mapping[str, object]) -> WrittenModule:
        """A whole module."""
        start = self.token.at
        self.expect("module")
        facts = self.attributes()
        versions, gradients = facts.get("versions", (0, 0, ())), facts.get("gradients", ())
        if not isinstance(versions, tuple) or len(versions) != 3 or not isinstance(gradients, tuple):
            expected = "versions = [producer, min_consumer, [bad...]] and gradients = [[function, gradient]...]"
            self.fail(start, f"{expected} are expected")
        written = WrittenModule(versions, gradients)
        while self.accept("opaque"):
            at, name = self.token.at, self._symbol()
            if name not in opaque:
                self.fail(at, f"function {name!r} is carried along unread; give it to the parser by name")
            written.opaque[name] = opaque[name]
        written.graphs.append(self.graph(self.word("graph")))
        while self.token.kind != "end":
            written.graphs.append(self._further())
        return written

    def _further(self) -> WrittenGraph:
        if self.word("function", "lowered") == "function":
            return self.graph("function")
        beside = self._symbol()
        self.expect("=")
        return attrs.evolve(self.graph(self.word("graph")), beside=beside)

    def graph(self, keyword: str) -> WrittenGraph:
        """What follows the word ``graph`` or ``function``."""
        name = self._symbol()
        inputs = self._listed(self._input)
        self.expect("->")
        outputs = self._listed(self._labelled)
        keep = self._listed(self._labelled) if self.accept("keep") else ()
        dialect = self._string() if self.accept("dialect") else "tf"
        attributes = self.attributes() if self.accept("attrs") else {}
        self.expect("{")
        body = []
        while not self.accept("}"):
            body.append(self._statement())
        return WrittenGraph(keyword, name, inputs, outputs, keep, dialect, attributes, tuple(body))

    def _listed(self, item: Any) -> tuple[Any, ...]:
        self.expect("(")
        return self._until(")", item)

    def _until(self, close: str, item: Any) -> tuple[Any, ...]:
        items: list[Any] = []
        while not self.accept(close):
            items.append(item())
            if not self.accept(","):
                self.expect(close)
                break
        return tuple(items)

    def _input(self) -> tuple[str, TensorType, int]:
        (name, _), at = self._value_name()
        self.expect(":")
        return name, self.type(), at

    def _labelled(self) -> tuple[Ref, str, int]:
        ref, at = self._value_name()
        return ref, self._string() if self.accept("as") else "", at

    def _statement(self) -> Statement:
        (name, _), at = self._value_name("a node (%name = Op...) or '}'")
        self.expect("=")
        op = self.word()
        inputs = self._listed(self._value_name) if self.token.text == "(" else ()
        attributes = self.attributes() if self.token.text == "{" else {}
        control = self._commas(self._control_name) if self.token.kind == "control" else ()
        types = self._commas(self.type) if self.accept(":") else _own_type(op, attributes)
        device = self._string() if self.accept("on") else ""
        origin = self._commas(self._string) if self.accept("@") else ()
        return Statement(name, op, inputs, attributes, control, types, device, origin, at)

    def _commas(self, item: Any) -> tuple[Any, ...]:
        items = [item()]
        while self.accept(","):
            items.append(item())
        return tuple(items)

    def _control_name(self) -> tuple[str, int]:
        token = self.take("control", "a control edge (^name)")
        return self._bare(token), token.at

    # -- types and attributes ----------------------------------------------------------------------------------------

    def type(self) -> TensorType:
        """An element type and a shape."""
        token = self.take("word", "a type")
        if token.text not in _DTYPES:
            self.fail(token.at, f"{token.text!r} is no element type; there are {', '.join(_DTYPES)}")
        return TensorType(_DTYPES[token.text], self._shape())

    def _shape(self) -> Shape:
        self.expect("[")
        if self.accept("*"):
            self.expect("]")
            return Shape(None)
        return Shape(self._until("]", self._dim))

    def _dim(self) -> int | None:
        if self.accept("?"):
            return None
        token = self.take("number", "a dimension (a number or ?)")
        if not token.text.isdigit():
            self.fail(token.at, f"{token.text} is no dimension")
        return int(token.text)

    def attributes(self) -> dict[str, AttrValue]:
        """``{name = value, ...}``."""
        self.expect("{")
        return dict(self._until("}", self._attribute))

    def _attribute(self) -> tuple[str, AttrValue]:
        name = self.word()
        self.expect("=")
        return name, self._attr_value()

    def _attr_value(self) -> AttrValue:
        token = self.token
        if self.accept("["):
            return self._until("]", self._attr_value)
        if token.kind == "word" and token.text in _DTYPES and self.tokens[self.at + 1].text == "[":
            return self._tensor()
        self.at += 1
        read: Callable[[_Parser, _Token], AttrValue] | None = _ATTRS.get(token.kind)
        if read is None:
            self.at -= 1
            self.fail(token.at, f"an attribute value is expected, not {token.text or 'the end of the text'!r}")
        return read(self, token)

    def _word_value(self, token: _Token) -> AttrValue:
        if token.text == "shape":
            return self._shape()
        if token.text == "graph":
            return WrittenBody(self.graph("graph"))
        if token.text in _CONSTANTS:
            return _CONSTANTS[token.text]
        if token.text not in _DTYPES:
            self.fail(token.at, f"{token.text!r} is no attribute value (texts are quoted)")
        return _DTYPES[token.text]

    def _function(self, token: _Token) -> FuncRef:
        values = self.attributes() if self.token.text == "{" else {}
        return FuncRef(self._bare(token), tuple(sorted(values.items(), key=lambda pair: pair[0])))

    def _tensor(self) -> Tensor:
        at, type_ = self.token.at, self.type()
        if self.token.kind == "sha":
            return self._stored(type_, at)
        found = [_element(self, token, type_.dtype) for token in self._elements()]
        parts = 2 if type_.dtype.np.kind == "c" else 1
        if not type_.shape.is_static or len(found) != parts * (type_.shape.num_elements or 0):
            self.fail(at, f"{len(found)} elements do not make a tensor of type {type_}")
        return Tensor.of(_array(found, type_), type_.dtype)

    def _stored(self, type_: TensorType, at: int) -> Tensor:
        digest = self.take("sha", "a digest").text.removeprefix("sha:")
        tensor = self.tensors.get(digest)
        if tensor is None:
            self.fail(at, f"the constant with digest {digest} is not in the text; give it to the parser (tensors)")
        if tensor.type != type_:
            self.fail(at, f"the constant with digest {digest} is {tensor.type}, not {type_}")
        return tensor

    def _elements(self) -> Iterator[_Token]:
        """The scalars of nested lists, in order."""
        depth = 0
        while True:
            if self.accept("["):
                depth += 1
            elif depth and self.accept("]"):
                depth -= 1
            elif self.token.kind in ("number", "word", "string"):
                yield self.token
                self.at += 1
            else:
                self.fail(self.token.at, f"an element is expected, not {self.token.text or 'the end of the text'!r}")
            if depth == 0:
                return
            self.accept(",")


def _own_type(op: str, attributes: Mapping[str, AttrValue]) -> tuple[TensorType, ...]:
    tensor = attributes.get("value")
    return (tensor.type,) if op in CONSTANT_OPS and isinstance(tensor, Tensor) else ()


def _number(parser: _Parser, token: _Token) -> int | float:
    if token.text.startswith("0x"):
        return int(token.text, 16)
    return float(token.text) if re.search(r"[.eEn]", token.text) else int(token.text)


def _element(parser: _Parser, token: _Token, dtype: DType) -> Any:
    """One element in the Python type that numpy converts exactly."""
    try:
        if token.kind == "string":
            return parser._unquote(token.text, token.at)
        if token.kind == "word":
            return {"true": True, "false": False}[token.text]
        if token.text.startswith("0x"):
            part = np.dtype(f"f{dtype.size // 2}") if dtype.np.kind == "c" else dtype.np
            return np.frombuffer(int(token.text, 16).to_bytes(part.itemsize, "little"), part)[0]
        return int(token.text) if dtype.is_integer or dtype.np.kind in "iu" else float(token.text)
    except (ValueError, KeyError, OverflowError):
        parser.fail(token.at, f"{token.text!r} is no element of a tensor of {dtype}")


def _array(found: Sequence[Any], type_: TensorType) -> Any:
    """Complex numbers come as two parts each: as Python's own they would lose the payload of a NaN."""
    wanted = type_.dtype.np
    array = np.empty(len(found), np.dtype(f"f{wanted.itemsize // 2}") if wanted.kind == "c" else wanted)
    for index, element in enumerate(found):
        array[index] = element
    return array.view(wanted).reshape(type_.shape.static())


_ATTRS: Mapping[str, Any] = {
    "word": _Parser._word_value, "symbol": _Parser._function, "number": _number,
    "string": lambda parser, token: parser._unquote(token.text, token.at),
    "placeholder": lambda parser, token: AttrPlaceholder(parser._bare(token)),
}  # fmt: skip
