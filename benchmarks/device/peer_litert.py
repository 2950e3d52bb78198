"""LiteRT (TensorFlow Lite) on-device training: a `train` signature over resource variables.

Only built-in operations, as LiteRT without TensorFlow runs them: the gradients that TensorFlow
itself would write with other operations (convolution filters, pooling, ReLU) are written out.
"""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

import numpy as np
from work import BATCH, NORM_EPS, RATES, STEPS, WAYS, Layer, network, support

if TYPE_CHECKING:
    from pathlib import Path

NAME = "litert"


def version() -> str:
    """What runs."""
    from importlib.metadata import version as of

    return f"ai-edge-litert {of('ai-edge-litert')}, converted by tensorflow {of('tensorflow_cpu')}"


def _nhwc(task: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = support(task)
    x = x if x.ndim == 2 else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    return x, np.eye(WAYS, dtype=np.float32)[y]


def _kernel(layer: Layer) -> np.ndarray:
    """HWIO, or `[h, w, channels, 1]` of a depthwise convolution."""
    order = (2, 3, 0, 1) if layer.groups > 1 else (2, 3, 1, 0)
    return np.ascontiguousarray(layer.kernel.transpose(order))


def _activations(tf):  # (relu, relu6); tensorflow is imported when this runs
    @tf.custom_gradient
    def relu(x):
        return tf.nn.relu(x), lambda g: g * tf.cast(x > 0.0, tf.float32)

    @tf.custom_gradient
    def relu6(x):
        inside = tf.cast(x > 0.0, tf.float32) * tf.cast(x < 6.0, tf.float32)
        return tf.nn.relu6(x), lambda g: g * inside

    return relu, relu6


def _convolution(tf):
    def convolve(x, kernel, stride):
        size, channels, out = kernel.shape[0], kernel.shape[2], kernel.shape[3]

        @tf.custom_gradient
        def f(x, kernel):
            def grad(g):
                if size == 1:
                    rows, grads = tf.reshape(x, (-1, channels)), tf.reshape(g, (-1, out))
                    by_kernel = tf.reshape(tf.matmul(rows, grads, transpose_a=True), kernel.shape)
                    return tf.nn.conv2d(
                        g, tf.transpose(kernel, (0, 1, 3, 2)), 1, "VALID"
                    ), by_kernel
                by_x = tf.nn.conv2d_transpose(g, kernel, x.shape, stride, "VALID")
                images = tf.transpose(x, (3, 1, 2, 0))  # channels as batch, batch as channels
                filters = tf.transpose(g, (1, 2, 0, 3))
                taps = tf.nn.conv2d(images, filters, 1, "VALID", dilations=stride)
                return by_x, tf.transpose(taps[:, :size, :size, :], (1, 2, 0, 3))

            return tf.nn.conv2d(x, kernel, stride, "VALID"), grad

        return f(x, tf.convert_to_tensor(kernel))

    return convolve


def _pooling(tf):
    @tf.custom_gradient
    def largest_of_two(x):  # [n, m, 2, c]; a tie is only ever among ReLU's zeros, whose grads are 0
        largest = tf.reduce_max(x, 2, keepdims=True)
        hit = tf.cast(tf.equal(x, largest), tf.float32)
        return tf.squeeze(largest, 2), lambda g: hit * tf.expand_dims(g, 2)

    def pool(x):
        n, h, w, c = x.shape
        even = (h // 2 * 2, w // 2 * 2)

        @tf.custom_gradient
        def crop(x):
            rest = [[0, 0], [0, h - even[0]], [0, w - even[1]], [0, 0]]
            return x[:, : even[0], : even[1], :], lambda g: tf.pad(g, rest)

        x = crop(x) if even != (h, w) else x
        x = largest_of_two(tf.reshape(x, (n, even[0] // 2, 2, even[1] * c)))
        x = largest_of_two(tf.reshape(x, (n * even[0] // 2, even[1] // 2, 2, c)))
        return tf.reshape(x, (n, even[0] // 2, even[1] // 2, c))

    return pool


def _layer(tf):
    relu, relu6 = _activations(tf)
    convolve, pool = _convolution(tf), _pooling(tf)

    def apply(layer: Layer, v: dict, x):
        if layer.padding:
            x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        if layer.groups > 1:
            x = tf.nn.depthwise_conv2d(x, v["kernel"], [1, layer.stride, layer.stride, 1], "VALID")
        else:
            x = convolve(x, v["kernel"], layer.stride)
        x = x + v["bias"]
        if layer.norm is not None:
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            x = (x - mean) * tf.math.rsqrt(variance + NORM_EPS) * v["scale"] + v["shift"]
        x = relu(x) if layer.clip is None else relu6(x)
        return pool(x) if layer.pool else x

    return apply


def _module(tf, task: str):  # a tf.Module with the functions `train` and `restore`
    net = network(task)
    x, _ = _nhwc(task)
    values = {**net.tensors(trained=False), **net.tensors(trained=True)}
    for i, layer in enumerate(net.layers):
        values[f"kernel{i}"] = _kernel(layer)
    trained = list(net.tensors(trained=True))
    apply = _layer(tf)

    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.v = {
                k: tf.Variable(a, name=k) if k in trained else tf.constant(a)
                for k, a in values.items()
            }

        def logits(self, x):
            for i, layer in enumerate(net.layers):
                x = apply(layer, {name: self.v[f"{name}{i}"] for name in layer.tensors()}, x)
            z = tf.reduce_mean(x, [1, 2]) if net.layers else x
            return tf.matmul(z, self.v["w"]) + self.v["b"]

        @tf.function(
            input_signature=[
                tf.TensorSpec(x.shape, tf.float32),
                tf.TensorSpec((BATCH, WAYS), tf.float32),
            ]
        )
        def train(self, x, y):
            variables = [self.v[k] for k in trained]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                losses = tf.nn.softmax_cross_entropy_with_logits(y, self.logits(x))
                loss = tf.reduce_mean(losses)
            for variable, grad in zip(variables, tape.gradient(loss, variables), strict=True):
                variable.assign_sub(RATES[task] * grad)
            return {"loss": loss}

        @tf.function(input_signature=[])
        def restore(self):
            for k in trained:
                self.v[k].assign(tf.constant(values[k]))
            return {"done": tf.constant(1.0)}

    return Net()


def prepare(task: str, folder: Path) -> None:
    """Trace, differentiate and convert."""
    import tensorflow as tf

    module, saved = _module(tf, task), tempfile.mkdtemp()
    signatures = {
        "train": module.train.get_concrete_function(),
        "restore": module.restore.get_concrete_function(),
    }
    tf.saved_model.save(module, saved, signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.experimental_enable_resource_variables = True
    (folder / "model.tflite").write_bytes(converter.convert())
    shutil.rmtree(saved)


class Run:
    """The interpreter and its two signatures."""

    def __init__(self, task: str, folder: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(folder / "model.tflite"), num_threads=threads)
        self.train = self.interpreter.get_signature_runner("train")
        self.reset = self.interpreter.get_signature_runner("restore")
        self.x, self.y = _nhwc(task)
        self.reset()

    def adapt(self) -> list[float]:
        return [float(self.train(x=self.x, y=self.y)["loss"]) for _ in range(STEPS)]
