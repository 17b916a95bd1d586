"""Networks in ONNX files: what they hold, and what runs them up to a layer."""

import difflib
import hashlib
import math
import os
from pathlib import Path

import numpy as np
from joblib import effective_n_jobs
from PIL import Image

from .efficientnet import NETWORKS

_CHANNELS_FIRST = frozenset(
    [
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "InstanceNormalization",
        "LRN",
        "MaxPool",
        "SpaceToDepth",
    ]
)
_WEIGHTED = frozenset(["Conv", "Gemm", "MatMul"])
_SMALL = 1024  # values; a larger constant says nothing about shapes


def require():
    """Import what the extra brings: (onnx, onnxruntime)."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise ImportError(
            "PretrainedFeatures needs onnx and onnxruntime; pip install "
            "'geoimages[network]', which brings networks too, or for a file of yours "
            "'geoimages[pretrained]'."
        ) from None
    return onnx, onnxruntime


def _subgraphs(node):
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _reads(node):
    """Names that a node reads, those of its branches and loops included."""
    names = {name for name in node.input if name}
    for graph in _subgraphs(node):
        for inner in graph.node:
            names |= _reads(inner)
        names.update(value.name for value in graph.output)
    return names


def _tensors(graph):
    """The constants of a graph."""
    yield from graph.initializer
    for node in graph.node:
        yield from (a.t for a in node.attribute if a.HasField("t"))
        for inner in _subgraphs(node):
            yield from _tensors(inner)


class Network:
    """What an ONNX file holds, its weights left aside.

    `data` is the content of the file if it is not to be read from `path`. Attributes:
    ``path``, ``sha256``, ``picture`` (the input's name), ``dtype``, ``axis`` (of the
    channels), ``batch`` and ``size`` (None where any will do), ``made_by`` (tensor ->
    node) and ``dependent`` (tensors the picture moves).
    """

    def __init__(self, path, data=None):
        self._onnx, _ = require()
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"model_path is the path of an ONNX file, got {path!r}.")
        self.path, self._data = Path(path), data
        if data is None and not self.path.is_file():
            raise FileNotFoundError(
                f"{self.path} is no file; model_path names an ONNX file that you bring, "
                f"or {' or '.join(NETWORKS)}."
            )
        self.model = self._load(load_external_data=False)
        self.sha256 = self._hash()
        for tensor in _tensors(self.model.graph):
            if math.prod(tensor.dims) > _SMALL:
                tensor.ClearField("raw_data")
                tensor.ClearField("float_data")
                tensor.ClearField("int32_data")
                tensor.ClearField("double_data")
        self._read_input()
        self.made_by, self.dependent = {}, {self.picture}
        for node in self.model.graph.node:
            self.made_by.update((name, node) for name in node.output if name)
            if _reads(node) & self.dependent:
                self.dependent.update(name for name in node.output if name)

    def _load(self, **options):
        try:
            if self._data is None:
                model = self._onnx.load_model(self.path, **options)
            else:
                model = self._onnx.load_model_from_string(self._data)
        except Exception as error:
            raise ValueError(
                f"{self.path} is not an ONNX network ({_first_line(error)}); export "
                "yours to ONNX first."
            ) from None
        if not model.graph.node:
            raise ValueError(
                f"{self.path} is not an ONNX network (no layer is in it); export "
                "yours to ONNX first."
            )
        return model

    def _hash(self):
        """SHA-256 of the file and of the files beside it that keep its weights."""
        if self._data is not None:
            return hashlib.sha256(self._data).hexdigest()
        beside = {
            entry.value
            for tensor in _tensors(self.model.graph)
            for entry in tensor.external_data
            if entry.key == "location"
        }
        folder = self.path.parent.resolve()
        digest = hashlib.sha256()
        for path in [self.path, *(folder / name for name in sorted(beside))]:
            if path is not self.path:
                if not path.resolve().is_relative_to(folder):
                    raise ValueError(
                        f"{self.path} keeps weights outside its own folder, in {path}; "
                        "this is not followed."
                    )
                if not path.is_file():
                    raise FileNotFoundError(
                        f"{path} is missing: {self.path.name} keeps its weights there; "
                        "keep the files together."
                    )
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def _read_input(self):
        graph, types = self.model.graph, self._onnx.TensorProto
        constants = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        if len(inputs) != 1:
            names = ", ".join(value.name for value in inputs) or "none"
            raise ValueError(
                f"{self.path} has {len(inputs)} inputs ({names}), expected one, the "
                "picture."
            )
        tensor = inputs[0].type.tensor_type
        self.picture = inputs[0].name
        shape = self._shape(inputs[0])
        self.axis = None
        if shape is not None and len(shape) == 4:
            self.axis = next((axis for axis in (1, 3) if shape[axis] == 3), None)
        if self.axis is None:
            raise ValueError(
                f"The input {self.picture!r} of {self.path} has the shape "
                f"{_shown(shape)}, expected pictures: (n, 3, height, width) or "
                "(n, height, width, 3), the 3 stated."
            )
        dtypes = {
            types.FLOAT: np.float32,
            types.FLOAT16: np.float16,
            types.DOUBLE: np.float64,
        }
        if tensor.elem_type not in dtypes:
            raise ValueError(
                f"The input {self.picture!r} of {self.path} is "
                f"{types.DataType.Name(tensor.elem_type).lower()}, expected float; "
                "export the network with a float input."
            )
        self.dtype = np.dtype(dtypes[tensor.elem_type])
        self.batch = shape[0]
        sides = shape[2:] if self.axis == 1 else shape[1:3]
        self._stated = sides

    def _shape(self, value):
        """Shape of a tensor, None for what is open, or None if nothing is known."""
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            return None
        return tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
            for dim in tensor.shape.dim
        )

    def size(self, wanted):
        """(height, width) of the input: what the file states, else what is wanted."""
        return tuple(a or b for a, b in zip(self._stated, wanted, strict=True))

    def values(self, size):
        """What is known of each tensor at a picture size: {name: (dtype, shape)}."""
        model = self._onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        if None in self._stated:
            (value,) = (v for v in graph.input if v.name == self.picture)
            dims = value.type.tensor_type.shape.dim
            first = 2 if self.axis == 1 else 1
            dims[first].dim_value, dims[first + 1].dim_value = size
            del graph.value_info[:]
        graph = self._onnx.shape_inference.infer_shapes(model).graph
        types = self._onnx.TensorProto.DataType
        return {
            value.name: (
                types.Name(value.type.tensor_type.elem_type).lower(),
                self._shape(value),
            )
            for value in [*graph.value_info, *graph.output]
        }

    def penultimate(self):
        """The tensor that enters the last layer with weights before the output."""
        for node in reversed(self._leading_to(self.model.graph.output[0].name)):
            moved = [name for name in node.input if name in self.dependent]
            if node.op_type in _WEIGHTED and len(moved) == 1:
                return moved[0]
        raise ValueError(
            f"{self.path} has no layer with weights that its output comes from; name a "
            "layer (see layers())."
        )

    def _leading_to(self, name):
        """The nodes that a tensor comes from, in their order."""
        needed, nodes = {name}, []
        for node in reversed(self.model.graph.node):
            if needed.intersection(node.output):
                nodes.append(node)
                needed |= _reads(node)
        return nodes[::-1]

    def find(self, layer):
        """Name the tensor that a layer's or a node's name stands for."""
        if layer not in self.made_by:
            nodes = {node.name: node for node in self.model.graph.node if node.name}
            if layer not in nodes:
                near = difflib.get_close_matches(layer, [*self.made_by, *nodes], 3, 0.4)
                hint = f"near it are {', '.join(map(repr, near))}; " if near else ""
                raise ValueError(
                    f"{self.path} has no layer {layer!r}; {hint}layers() lists all."
                )
            layer = nodes[layer].output[0]
        if layer not in self.dependent:
            raise ValueError(
                f"Layer {layer!r} of {self.path} does not depend on the picture; "
                "layers() lists those that do."
            )
        return layer

    def channel_axis(self, name):
        """The channels' axis in a tensor of rank 4, followed back to what set it."""
        turns, axis = [], self.axis
        while name != self.picture:
            node = self.made_by[name]
            if node.op_type in _CHANNELS_FIRST:
                axis = 1
                break
            if node.op_type == "Transpose":
                turns += [list(a.ints) for a in node.attribute if a.name == "perm"]
            name = next((n for n in node.input if n in self.dependent), self.picture)
        for turn in reversed(turns):
            axis = turn.index(axis) if len(turn) == 4 else axis
        return axis

    def cut(self, layers):
        """The network up to some layers, with its weights: bytes of an ONNX file."""
        model = self._load()
        graph = model.graph
        stated = {value.name: value for value in graph.output}
        outputs = [self._onnx.ValueInfoProto(name=layer) for layer in layers]
        for value in outputs:
            if value.name in stated:
                value.CopyFrom(stated[value.name])
        del graph.output[:]
        graph.output.extend(outputs)
        needed = {*layers, self.picture}
        for i in reversed(range(len(graph.node))):
            if needed.intersection(graph.node[i].output):
                needed |= _reads(graph.node[i])
            else:
                del graph.node[i]
        for part in (graph.initializer, graph.input):
            for i in reversed(range(len(part))):
                if part[i].name not in needed:
                    del part[i]
        try:
            return model.SerializeToString()
        except Exception as error:
            raise ValueError(
                f"{self.path} cannot be run up to {layers[-1]!r}: there are over 2 GB of "
                f"weights ({_first_line(error)}); take an earlier layer."
            ) from None


def _shares(masks, height, width):
    """Share of rock in each cell of a grid: (n, h, w) bool -> (n, height, width)."""
    size, box = (width, height), Image.Resampling.BOX
    shares = [
        Image.fromarray(mask.astype(np.float32)).resize(size, box) for mask in masks
    ]
    return np.stack([np.asarray(share) for share in shares])


def pool(values, how, masks=None):
    """Pool channels over places: (n, k, h, w) -> {name: (n, k)}.

    By "mean_std" these are ``mean`` and ``std``, each place weighted by its share of
    rock; the others are of the whole picture.
    """
    n, k, height, width = values.shape
    values = values.reshape(n, k, -1)
    if how != "mean_std":
        return {"": getattr(values, how)(axis=2)}
    weights = np.ones((n, height, width), np.float32)
    if masks is not None:
        weights = _shares(masks, height, width)
    weights = weights.reshape(n, -1, 1)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = values @ weights
    variance = (values - mean) ** 2 @ weights
    return {"mean": mean[..., 0], "std": np.sqrt(variance[..., 0])}


class Runner:
    """An open network: prepared pictures in, columns of some layers out."""

    def __init__(self, network, layers, how, n_jobs):
        _, runtime = require()
        runtime.disable_telemetry_events()
        self.path, self.layers, self.how = network.path, list(layers), how
        self.batch, self.dtype, self.axis = network.batch, network.dtype, network.axis
        self.channel_axes = [network.channel_axis(layer) for layer in layers]
        options = runtime.SessionOptions()
        options.intra_op_num_threads = effective_n_jobs(n_jobs)
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        data = network.cut(layers)
        try:
            self.session = runtime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has many kinds
            raise ValueError(
                f"ONNX Runtime cannot open {self.path}: {_first_line(error)}"
            ) from None
        self.picture = network.picture

    def __call__(self, pictures, masks=None):
        """Run a batch: (n, h, w, 3), masks (n, h, w) or None -> [{name: (n, k)}].

        Of each layer the columns, by what `pool` calls them.
        """
        n = len(pictures)
        if self.axis == 1:
            pictures = pictures.transpose(0, 3, 1, 2)
        with np.errstate(over="ignore"):  # what float16 cannot hold is found later
            pictures = np.ascontiguousarray(pictures, self.dtype)
        if self.batch:
            fill = np.zeros((self.batch - n, *pictures.shape[1:]), self.dtype)
            pictures = np.concatenate([pictures, fill])
        try:
            outputs = self.session.run(self.layers, {self.picture: pictures})
        except Exception as error:
            raise ValueError(
                f"ONNX Runtime failed on {self.path} with pictures of the shape "
                f"{pictures.shape}: {_first_line(error)}"
            ) from None
        parts = []
        for layer, axis, values in zip(
            self.layers, self.channel_axes, outputs, strict=True
        ):
            self._check(layer, values, len(pictures))
            parts.append(self._pool(values[:n].astype(np.float32), axis, masks))
        return parts

    def _check(self, layer, values, n):
        if getattr(values, "dtype", np.dtype(object)).kind != "f":
            kind = getattr(values, "dtype", type(values).__name__)
            raise ValueError(
                f"Layer {layer!r} of {self.path} gives {kind}, expected floats; "
                "layers() lists what each gives."
            )
        if values.ndim not in (2, 3, 4) or len(values) != n:
            raise ValueError(
                f"Layer {layer!r} of {self.path} gives the shape {values.shape} "
                f"for {n} pictures, expected (n, k), (n, tokens, k) or "
                "spatial (n, k, h, w) or (n, h, w, k); layers() lists the others."
            )

    def _pool(self, values, axis, masks):
        if values.ndim == 4:
            return pool(np.moveaxis(values, axis, 1), self.how, masks)
        if values.ndim == 3:  # tokens have no place
            return pool(values.transpose(0, 2, 1)[..., None], self.how)
        return {"": values}


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _shown(shape):
    if shape is None:
        return "(unknown)"
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def count_columns(shape, axis):
    """How many columns a layer of a shape gives, or None."""
    if shape is None or len(shape) not in (2, 3, 4):
        return None
    return shape[axis] if len(shape) == 4 else shape[-1]
