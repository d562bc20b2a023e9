"""What TensorRT says during one build: collected, freed of noise, and read for its layer table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import attrs

_NOISE = re.compile(r"checkMacros\.cpp::catchCudaError")
"""Says nothing of the network: on a machine without a driver each error is followed by such a line on cudaError 35."""

SEVERITIES = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")


@attrs.frozen(slots=True)
class Message:
    """One line of TensorRT's log; ``severity`` is one of :data:`SEVERITIES`."""

    severity: str
    text: str


@attrs.define(slots=True, eq=False)
class BuildLog:
    """The messages of one build, or of one engine that runs.

    ``verbose`` keeps VERBOSE messages too, which the layer table needs; ``most`` is how many messages are kept, the last ones.
    """

    verbose: bool = False
    most: int | None = None
    messages: list[Message] = attrs.field(factory=list)

    def record(self, severity: str, text: str) -> None:
        """Keep a message unless it is noise or too detailed."""
        kept = SEVERITIES if self.verbose else SEVERITIES[:-1]
        if severity in kept and not _NOISE.search(text):
            self.messages.append(Message(severity, text.strip()))
            if self.most is not None:
                del self.messages[: -self.most]

    def of(self, *severities: str, since: int = 0) -> list[str]:
        """The texts of the given severities, each once, from message ``since`` on."""
        return list(dict.fromkeys(m.text for m in self.messages[since:] if m.severity in severities))

    def errors(self, since: int = 0) -> list[str]:
        """What went wrong, from message ``since`` on."""
        return self.of("INTERNAL_ERROR", "ERROR", since=since)

    def warnings(self) -> list[str]:
        """What TensorRT warned of."""
        return self.of("WARNING")


def make_logger(trt: Any, log: BuildLog) -> Any:
    """An ``ILogger`` of bindings module ``trt`` that records into ``log``; it must outlive what is made with it."""
    names = {getattr(trt.ILogger.Severity, name): name for name in SEVERITIES}

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base exists only at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            log.record(names.get(severity, "ERROR"), text)

    return Logger()


@attrs.frozen(slots=True)
class LayerRow:
    """One kernel of the built engine as TensorRT lists it: tensors are (name, data type, format)."""

    name: str
    type: str
    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str, str], ...]
    tactic: str = ""
    metadata: str = ""

    @property
    def input_types(self) -> tuple[str, ...]:
        """The data types read, in TensorRT's words (``Float``, ``Half``, ``Int8``...)."""
        return tuple(kind for _, kind, _ in self.inputs)

    @property
    def output_types(self) -> tuple[str, ...]:
        """The data types written."""
        return tuple(kind for _, kind, _ in self.outputs)


_ROW = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<type>[^,]*), Inputs: (?P<inputs>\[.*?\]), (?:Constants: \[.*\], )?"
    r"Outputs: (?P<outputs>\[.*\]), (?:.*?)TacticName: (?P<tactic>.*?), StreamId: [^,]*, Metadata:(?P<metadata>.*)$"
)
_TENSOR = re.compile(r"\{ Name: (.*?), (?:Location: \w+, )?Dimensions: .*?Datatype: (\w+), Format: (.*?) ?\}")


def layer_table(texts: Sequence[str]) -> tuple[LayerRow, ...]:
    """The rows of the last ``Layers:`` listing among VERBOSE messages of a detailed build; empty when there is none."""
    listings = [text for text in texts if text.startswith("Layers:")]
    rows = (_ROW.match(line.strip()) for line in (listings[-1] if listings else "").splitlines())
    return tuple(_row(match) for match in rows if match)


def _row(match: re.Match[str]) -> LayerRow:
    inputs, outputs = (tuple(_TENSOR.findall(match[side])) for side in ("inputs", "outputs"))
    return LayerRow(match["name"], match["type"], inputs, outputs, match["tactic"], match["metadata"].strip())


def logged_bytes(texts: Sequence[str], label: str) -> int | None:
    """The number in a message such as ``Max Scratch Memory: 123 bytes``, or None when it was not said."""
    pattern = re.compile(rf"^{re.escape(label)}: (\d+) bytes")
    found = [match for match in map(pattern.match, texts) if match]
    return int(found[-1][1]) if found else None
