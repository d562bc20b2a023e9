"""Networks of CudnnRNN with random weights, and what Keras' own CPU layers compute of them.

The block of weights is written by Keras' own writer for cuDNN; several layers or directions are Keras layers one behind the other.
Where batches come first, TensorFlow's kernel declares states as [batch, layers * directions, units] and hands their memory to cuDNN,
which takes it as [layers * directions, batch, units]: so is it here.
"""

from __future__ import annotations

import importlib
from typing import Any

import attrs
import keras
import ml_dtypes
import numpy as np
import tensorflow as tf

from converters.harness import Array, Case, Const, Unknown, case, run_layers
from tfgraphopt_trt.converter import Fragment

write_weights = importlib.import_module("keras.src.backend.tensorflow.rnn")._standardize_cudnn_weights
LAYERS: dict[str, tuple[Any, dict[str, Any], tuple[int, ...]]] = {
    "lstm": (keras.layers.LSTM, {}, (0, 1, 2, 3)),
    "gru": (keras.layers.GRU, {"reset_after": True}, (1, 0, 2)),
    "rnn_tanh": (keras.layers.SimpleRNN, {}, (0,)),
    "rnn_relu": (keras.layers.SimpleRNN, {"activation": "relu"}, (0,)),
}
"""The Keras layer of each mode, and which of its gates is cuDNN's first, second..."""
BATCH, TIME, INPUTS, UNITS = 2, 5, 3, 4


@attrs.frozen
class Network:
    """A network of random weights; the arrays are [batch, time, size] and [layers * directions, batch, units]."""

    mode: str
    layers: int = 1
    bidirectional: bool = False
    inputs: int = INPUTS
    skip: bool = False
    lengths: tuple[int, ...] | None = None

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def states(self) -> list[Array]:
        """The initial states."""
        shape = (self.layers * self.directions, BATCH, UNITS)
        return [numbers(*shape, seed=s) for s in range(2 if self.mode == "lstm" else 1)]

    @property
    def x(self) -> Array:
        """The input."""
        return numbers(BATCH, TIME, self.inputs)

    def weights(self) -> list[tuple[Array, Array, Array]]:
        """Of each direction of each layer, as Keras has them: both kernels, and the biases of input and hidden state."""
        gates = len(LAYERS[self.mode][2])
        found = []
        for i in range(self.layers * self.directions):
            inputs = self.inputs if i < self.directions else self.directions * UNITS
            skip = self.skip and i < self.directions
            kernel = np.tile(np.eye(UNITS, dtype=np.float32), gates) if skip else numbers(inputs, gates * UNITS, seed=i)
            found.append((kernel, numbers(UNITS, gates * UNITS, seed=i), numbers(2, gates * UNITS, seed=i)))
        return found

    def block(self) -> Array:
        """All of them as cuDNN's block, the matrices of skipped inputs left out."""
        order = LAYERS[self.mode][2]
        matrices: list[Array] = []
        biases: list[Array] = []
        for i, (kernel, recurrent, bias) in enumerate(self.weights()):
            taken = [recurrent] if self.skip and i < self.directions else [kernel, recurrent]
            matrices += [np.split(m, len(order), axis=1)[g] for m in taken for g in order]
            biases += [np.split(row, len(order))[g] for row in bias for g in order]
        return np.asarray(write_weights(matrices, biases, [-1], transpose_weights=True))

    def given(self, *, time_major: bool = True) -> list[Array]:
        """The initial states as the node takes them."""
        return [s if time_major else np.ascontiguousarray(np.swapaxes(s, 0, 1)) for s in self.states]

    def expected(self, *, time_major: bool = True) -> list[Array]:
        """What Keras computes, as the node gives it: the outputs and the last states."""
        outputs, *states = self._computed([s.reshape(-1, BATCH, UNITS) for s in self.given(time_major=time_major)])
        if time_major:
            return [np.swapaxes(outputs, 0, 1), *states]
        return [outputs, *(s.reshape(BATCH, -1, UNITS) for s in states)]

    def _computed(self, initial: list[Array]) -> list[Array]:
        x, final = tf.constant(self.x), []
        for layer in range(self.layers):
            outputs = []
            for direction in range(self.directions):
                place = layer * self.directions + direction
                made, *states = self._run(place, x, [s[place] for s in initial], backwards=bool(direction))
                outputs.append(tf.reverse(made, [1]) if direction else made)
                final.append(states)
            x = tf.concat(outputs, 2)
        return [np.asarray(x), *(np.stack([np.asarray(s[i]) for s in final]) for i in range(len(self.states)))]

    def _run(self, place: int, x: tf.Tensor, initial: list[Array], *, backwards: bool) -> list[tf.Tensor]:
        kind, told, _ = LAYERS[self.mode]
        given = {} if self.mode.startswith("rnn") else {"use_cudnn": False}
        layer = kind(
            UNITS,
            return_sequences=True,
            return_state=True,
            go_backwards=backwards,
            zero_output_for_mask=True,
            **told,
            **given,
        )
        kernel, recurrent, bias = self.weights()[place]
        layer.build(x.shape)
        layer.set_weights([kernel, recurrent, bias if self.mode == "gru" else bias.sum(0)])
        mask = None if self.lengths is None else tf.sequence_mask(self.lengths, TIME)
        found: list[tf.Tensor] = layer(x, initial_state=[tf.constant(s) for s in initial], mask=mask)
        return found

    def case(
        self,
        op: str,
        *,
        time_major: bool = True,
        dtype: Any = np.float32,
        constant: bool = True,
        unknown: Unknown = "none",
    ) -> Case:
        """One node of ``op``."""
        first = (lambda a: a) if not time_major else (lambda a: np.swapaxes(a, 0, 1))
        x = first(self.x).astype(dtype)
        states = [s.astype(dtype) for s in self.given(time_major=time_major)]
        block = self.block().astype(dtype)
        operands: dict[str, Any] = {
            "input": x, "input_h": states[0], "input_c": states[1] if len(states) > 1 else Const(np.zeros((), dtype)),
            "params": Const(block) if constant else block,
        }  # fmt: skip
        told = {
            "rnn_mode": self.mode, "direction": "bidirectional" if self.bidirectional else "unidirectional",
            "input_mode": "skip_input" if self.skip else "linear_input",
        }  # fmt: skip
        if op == "CudnnRNNV3":
            whole = (TIME,) * BATCH
            operands["sequence_lengths"] = np.array(self.lengths, np.int32) if self.lengths else Const(np.int32(whole))
            told["time_major"] = time_major  # type: ignore[assignment]
        return case(op, operands, told, unknown=unknown, outputs=(0, 1, 2) if self.mode == "lstm" else (0, 1))


def converted(one: Case) -> Fragment:
    """The layers of a node, whose outputs are the results that the case compares."""
    fragment = one.convert()
    fragment.graph.set_outputs([fragment.graph.outputs[i] for i in one.outputs])
    return fragment


def computed(one: Case) -> list[Array]:
    """What the layers of a node compute."""
    fragment = converted(one)
    return run_layers(fragment, one.operand_arrays(fragment))


def numbers(*shape: int, seed: int = 0) -> Array:
    """Small random numbers."""
    return (0.5 * np.random.default_rng([seed, *shape]).normal(size=shape)).astype(np.float32)


NETWORKS: dict[str, tuple[Network, dict[str, Any], float | None]] = {
    "lstm": (Network("lstm"), {"unknown": {"input": [0, 1, 2], "input_h": [1], "input_c": [0, 1, 2]}}, None),
    "gru": (Network("gru"), {"time_major": False, "unknown": {"input": [0, 1], "input_h": [0]}}, None),
    "rnn_tanh": (Network("rnn_tanh", layers=2), {}, None),
    "rnn_relu": (Network("rnn_relu", bidirectional=True), {"unknown": {"input": [0, 1], "input_h": [1]}}, None),
    "two layers, two directions": (
        Network("lstm", layers=2, bidirectional=True),
        {"unknown": {"input": [0, 1], "input_h": [1], "input_c": [1]}}, None,
    ),
    "three layers of gru": (Network("gru", layers=3), {"unknown": {"input": [1], "input_h": [0, 1]}}, None),
    "lengths": (Network("lstm", lengths=(2, 5)), {"unknown": {"input": [0, 1], "sequence_lengths": [0]}}, None),
    "lengths, two directions": (
        Network("rnn_tanh", bidirectional=True, lengths=(4, 1)),
        {"time_major": False, "unknown": {"input": [0, 1], "input_h": [0], "sequence_lengths": [0]}}, None,
    ),
    "lengths, two directions, two layers": (
        Network("gru", layers=2, bidirectional=True, lengths=(1, 3)), {"unknown": {"input": [0, 1], "input_h": [1]}}, None,
    ),
    "skipped input": (Network("gru", inputs=UNITS, skip=True), {"unknown": {"input": [0, 1]}}, None),
    "skipped input of two layers": (Network("lstm", inputs=UNITS, skip=True, layers=2, bidirectional=True), {}, None),
    "weights of run time": (Network("rnn_relu", layers=2), {"constant": False, "unknown": {"input": [0, 1]}}, None),
    "half": (Network("gru", lengths=(3, 5)), {"dtype": np.float16}, 4e-3),
    "bfloat16": (Network("lstm"), {"dtype": ml_dtypes.bfloat16}, 2e-2),
}  # fmt: skip
"""By name: a network, how its node is written (:meth:`Network.case`), and the tolerance where it is not float32."""

RECORDED: dict[str, tuple[Network, dict[str, Any], float | None]] = {
    **NETWORKS,
    "lstm, two directions": (Network("lstm", bidirectional=True), {}, None),
    "tanh, two directions": (Network("rnn_tanh", bidirectional=True), {}, None),
    "two directions, batch first": (Network("rnn_tanh", bidirectional=True), {"time_major": False}, None),
    "lengths, two directions, time first": (Network("rnn_tanh", bidirectional=True, lengths=(4, 1)), {}, None),
    "lengths in ascending order, two directions": (Network("rnn_tanh", bidirectional=True, lengths=(3, 5)), {}, None),
    "gru, two layers, two directions": (Network("gru", bidirectional=True, layers=2), {}, None),
    "lengths of lstm, batch first": (
        Network("lstm", bidirectional=True, lengths=(2, 4)), {"time_major": False, "unknown": {"input_h": [0], "input_c": [0]}}, None,
    ),
    "lengths in ascending order": (Network("rnn_tanh", lengths=(2, 4)), {}, None),
    "lengths, two layers": (Network("rnn_tanh", layers=2, lengths=(4, 2)), {}, None),
}  # fmt: skip
"""The networks whose results by cuDNN are recorded (``data/cudnn_h100.npz``)."""
