"""PretrainedFeatures: a layer of a pretrained network in an ONNX file."""

import difflib
import hashlib
import math
import os
import weakref
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from sklearn.utils.validation import check_is_fitted

from ..files import progress
from ..pictures.resizing import FITS, check_size, resize_image
from ..pictures.validation import check_images, is_collection
from .base import PictureFeatures, split_mask

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CAFFE = {
    "channels": "BGR",
    "scale": 1.0,
    "mean": (123.68, 116.779, 103.939),
    "std": 1.0,
}
_DEFAULTS = {
    "size": 224,
    "channels": "RGB",
    "scale": 1 / 255,
    **_IMAGENET,
    "fit": "crop",
    "layer": None,
    "n_features": None,
}
_PENULTIMATE = {"layer": "penultimate"}

PRESETS = MappingProxyType(
    {
        name: MappingProxyType({**_DEFAULTS, **_PENULTIMATE, **rule})
        for name, rule in {
            "resnet50": {"n_features": 2048},
            "resnet50-keras": {**_CAFFE, "n_features": 2048},
            "vgg16": {"n_features": 4096},
            "vgg16-keras": {**_CAFFE, "n_features": 4096},
            "squeezenet": {**_CAFFE, "mean": 0.0, "n_features": 512},
        }.items()
    }
)
"""Input format and layer of each known network."""

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

# What runs the network is no part of a transformer's state.
_runners = weakref.WeakKeyDictionary()


def _require():
    """Import what the extra brings: (onnx, onnxruntime)."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise ImportError(
            "PretrainedFeatures needs onnx and onnxruntime; "
            "pip install 'geoimages[pretrained]'."
        ) from None
    return onnx, onnxruntime


def _check_rule(preset):
    """Return the whole rule that a preset's name or a dict stands for."""
    if preset is None:
        return dict(_DEFAULTS)
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(
                f"preset={preset!r} is not known; expected one of "
                f"{', '.join(PRESETS)}, or a dict with any of {', '.join(_DEFAULTS)}."
            )
        return dict(PRESETS[preset])
    if not isinstance(preset, dict | MappingProxyType):
        raise TypeError(f"preset is a name, a dict or None, got {preset!r}.")
    unknown = [key for key in preset if key not in _DEFAULTS]
    if unknown:
        raise ValueError(
            f"A preset has no {unknown[0]!r}; it may have {', '.join(_DEFAULTS)}."
        )
    rule = {**_DEFAULTS, **preset}
    if rule["channels"] not in ("RGB", "BGR"):
        raise ValueError(f"channels is 'RGB' or 'BGR', got {rule['channels']!r}.")
    if rule["fit"] not in FITS:
        raise ValueError(f"fit is one of {FITS}, got {rule['fit']!r}.")
    for key, shapes in {"scale": ((),), "mean": ((), (3,)), "std": ((), (3,))}.items():
        try:
            values = np.asarray(rule[key], np.float64)
        except (TypeError, ValueError):
            values = np.full(0, np.nan)
        zero = key == "std" and not values.all()
        if values.shape not in shapes or not np.isfinite(values).all() or zero:
            kind = "one number" if key == "scale" else "a number or three (R, G, B)"
            raise ValueError(
                f"{key} is {kind}{', none 0' if key == 'std' else ''}; got "
                f"{rule[key]!r}."
            )
    return rule


def _size_of(rule):
    size = rule["size"]
    return check_size((size, size) if np.ndim(size) == 0 else size)


def _ground(rgb, mask):
    """Fill masked pixels with the rock's mean color: (h, w, 3) uint8, (h, w)."""
    rgb = rgb.copy()
    rgb[~mask] = np.rint(rgb[mask].mean(axis=0))
    return rgb


def _prepare(images, size, rule):
    """Preprocess pictures for a network: (n, h, w, c) -> (n, *size, 3) float32."""
    if images.dtype != np.uint8:
        images = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    rgb, mask = split_mask(images)
    out = np.empty((len(rgb), *size, 3), np.float32)
    for i, picture in enumerate(rgb):
        if mask is not None:
            picture = _ground(picture, mask[i])
        picture = resize_image(np.ascontiguousarray(picture), size, rule["fit"])
        if picture.shape[2] == 4:
            picture = _ground(picture[..., :3], picture[..., 3] > 127)
        out[i] = picture
    out *= np.float32(rule["scale"])
    out -= np.asarray(rule["mean"], np.float32)
    out /= np.asarray(rule["std"], np.float32)
    return out[..., ::-1] if rule["channels"] == "BGR" else out


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


class _Network:
    """What an ONNX file holds, its weights left aside.

    Attributes: ``path``, ``sha256``, ``picture`` (the input's name), ``dtype``,
    ``axis`` (of the channels), ``batch`` and ``size`` (None where any will do),
    ``made_by`` (tensor -> node) and ``dependent`` (tensors the picture moves).
    """

    def __init__(self, path):
        self._onnx, _ = _require()
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"model_path is the path of an ONNX file, got {path!r}.")
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{self.path} is no file; model_path names an ONNX file that you bring."
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
            model = self._onnx.load_model(self.path, **options)
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
                f"{_dims(shape)}, expected pictures: (n, 3, height, width) or "
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

    def cut(self, layer):
        """The network up to a layer, with its weights, as the bytes of an ONNX file."""
        model = self._load()
        graph = model.graph
        kept = [i.name for i in graph.output]
        if layer in kept:
            value = self._onnx.ValueInfoProto()
            value.CopyFrom(graph.output[kept.index(layer)])
        else:
            value = self._onnx.ValueInfoProto(name=layer)
        del graph.output[:]
        graph.output.append(value)
        needed = {layer, self.picture}
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
                f"{self.path} cannot be run up to {layer!r}: there are more than 2 GB of "
                f"weights ({_first_line(error)}); take an earlier layer."
            ) from None


class _Runner:
    """An open network: prepared pictures in, rows of a layer out."""

    def __init__(self, network, layer, pool, n_jobs):
        _, runtime = _require()
        runtime.disable_telemetry_events()
        self.path, self.layer, self.pool = network.path, layer, pool
        self.batch, self.dtype, self.axis = network.batch, network.dtype, network.axis
        self.channel_axis = network.channel_axis(layer)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = effective_n_jobs(n_jobs)
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        data = network.cut(layer)
        try:
            self.session = runtime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has many kinds
            raise ValueError(
                f"ONNX Runtime cannot open {self.path}: {_first_line(error)}"
            ) from None
        self.picture = network.picture

    def __call__(self, pictures):
        """Run a batch: (n, h, w, 3) -> (n, k) float32."""
        n = len(pictures)
        if self.axis == 1:
            pictures = pictures.transpose(0, 3, 1, 2)
        with np.errstate(over="ignore"):  # what float16 cannot hold is found later
            pictures = np.ascontiguousarray(pictures, self.dtype)
        if self.batch:
            fill = np.zeros((self.batch - n, *pictures.shape[1:]), self.dtype)
            pictures = np.concatenate([pictures, fill])
        try:
            (values,) = self.session.run([self.layer], {self.picture: pictures})
        except Exception as error:
            raise ValueError(
                f"ONNX Runtime failed on {self.path} with pictures of the shape "
                f"{pictures.shape}: {_first_line(error)}"
            ) from None
        if getattr(values, "dtype", np.dtype(object)).kind != "f":
            kind = getattr(values, "dtype", type(values).__name__)
            raise ValueError(
                f"Layer {self.layer!r} of {self.path} gives {kind}, expected floats; "
                "layers() lists what each gives."
            )
        if values.ndim not in (2, 3, 4) or len(values) != len(pictures):
            raise ValueError(
                f"Layer {self.layer!r} of {self.path} gives the shape {values.shape} "
                f"for {len(pictures)} pictures, expected (n, k), (n, tokens, k) or "
                "spatial (n, k, h, w) or (n, h, w, k); layers() lists the others."
            )
        values = values[:n].astype(np.float32)
        if values.ndim == 4:
            axes = tuple({1, 2, 3} - {self.channel_axis})
            values = getattr(values, self.pool)(axis=axes)
        elif values.ndim == 3:
            values = getattr(values, self.pool)(axis=1)
        return values


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _dims(shape):
    if shape is None:
        return "(unknown)"
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def _columns(shape, axis):
    """How many columns a layer of a shape gives, or None."""
    if shape is None or len(shape) not in (2, 3, 4):
        return None
    return shape[axis] if len(shape) == 4 else shape[-1]


class PretrainedFeatures(PictureFeatures):
    """Describe pictures by a layer of a pretrained network.

    ONNX Runtime runs your own file on the CPU. Nothing is downloaded.
    Requires ``pip install 'geoimages[pretrained]'``.

    Parameters
    ----------
    model_path : str or path-like
        The ONNX file. External weights are read from files beside it.
    layer : str, optional
        Name of a tensor or node, as listed by `layers`, or ``"penultimate"``, the input
        of the last layer with weights. By default the preset's layer, or without a
        preset the file's first output.
    preset : str, dict or None, default=None
        Input format of the network: a name from the table below, or a dict of
        differences from the defaults.
    batch_size : int, default=32
        Pictures per batch, unless fixed by the file.
    pool : {"mean", "max"}, default="mean"
        Pooling of spatial layers (n, k, h, w) or (n, h, w, k), and of tokens
        (n, tokens, k), to (n, k).
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    n_jobs : int, optional
        Threads of ONNX Runtime, as in joblib.

    Attributes
    ----------
    layer_ : str
        Name of the output tensor.
    input_size_ : tuple of int
        (height, width) of the network's input, in pixels.
    preprocessing_ : dict
        The complete preset.
    model_sha256_ : str
        SHA-256 of the file and of the external files with its weights.
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    See Also
    --------
    MLPEmbedding : A small embedding to train on these features.

    Notes
    -----
    The presets, in `geoimages.features.pretrained.PRESETS`:

    ==================  =======  ========  ===================================
    name                layer    channels  values
    ==================  =======  ========  ===================================
    ``resnet50``        2,048    RGB       0–1, ImageNet's mean and deviation
    ``resnet50-keras``  2,048    BGR       0–255 less ImageNet's mean
    ``vgg16``           4,096    RGB       0–1, ImageNet's mean and deviation
    ``vgg16-keras``     4,096    BGR       0–255 less ImageNet's mean
    ``squeezenet``      512      BGR       0–255
    ==================  =======  ========  ===================================

    Their layer is the penultimate one (ResNet50: the pooled one; VGG16: fc2; SqueezeNet:
    the last fire module), or the output of a file that ends there. The keys of a dict
    are ``size`` (224; pixels, or (height, width)), ``channels`` ("RGB"), ``scale``
    (1/255), ``mean`` and ``std`` (ImageNet's; a number or three in the order R, G, B),
    ``fit`` ("crop"), ``layer`` and ``n_features`` (the expected number of columns);
    values become (level · scale − mean) / std. The defaults are in parentheses.

    Pictures are resized to the size stated in the file, or else the preset's, by
    `resize_image` (bicubic; of another aspect ratio the middle is cut out). float
    pictures are rounded to 256 levels first. Grey becomes RGB. What a mask hides gets
    the mean color of the picture's rock. Whether the file wants (n, 3, h, w) or
    (n, h, w, 3), and of which float type, is read from it.

    A fitted transformer remembers the file by its content: it may be moved
    (``set_params(model_path=...)``), but not altered.

    References
    ----------
    He, Zhang, Ren and Sun (2016). Deep residual learning for image recognition. CVPR.

    Simonyan and Zisserman (2015). Very deep convolutional networks for large-scale image
    recognition. ICLR.

    Iandola et al. (2016). SqueezeNet. arXiv:1602.07360.

    Examples
    --------
    >>> from geoimages import PretrainedFeatures
    >>> from geoimages.features.pretrained import PRESETS
    >>> PRESETS["vgg16"]["n_features"]
    4096
    >>> PretrainedFeatures("resnet50.onnx", preset="resnet50").fit([[0.0]])
    Traceback (most recent call last):
    FileNotFoundError: resnet50.onnx is no file; model_path names an ONNX file that ...
    """

    def __init__(
        self,
        model_path,
        layer=None,
        preset=None,
        *,
        batch_size=32,
        pool="mean",
        image_shape=None,
        n_jobs=None,
    ):
        self.model_path = model_path
        self.layer = layer
        self.preset = preset
        self.batch_size = batch_size
        self.pool = pool
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    def layers(self):
        """List the layers of the file; the transformer need not be fitted.

        Returns
        -------
        layers : DataFrame
            A row for each tensor that depends on the picture, in the network's order.
            Index ``layer``; columns ``node`` (its name, often empty), ``op``,
            ``dtype``, ``shape`` (a tuple, None for what is open, as the batch may be;
            or None) and ``n_features`` (columns it would give, <NA> where unknown).
        """
        network = _Network(self.model_path)
        known = network.values(network.size(_size_of(_check_rule(self.preset))))
        rows = []
        for name, node in network.made_by.items():
            if name not in network.dependent:
                continue
            dtype, shape = known.get(name, ("", None))
            columns = _columns(shape, network.channel_axis(name))
            rows.append((name, node.name, node.op_type, dtype, shape, columns))
        names = ["layer", "node", "op", "dtype", "shape", "n_features"]
        table = pd.DataFrame(rows, columns=names).set_index("layer")
        return table.astype({"n_features": "Int64"})

    def fit(self, X, y=None):
        """Learn the shape of the pictures, and read the network.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width, c), or Collection
            Flat rows or pictures with 1 (grey), 3 (RGB) or 4 channels (RGB and mask);
            uint8 means 0–255 and float 0–1.
        y : ignored
            There for scikit-learn.

        Returns
        -------
        self : PretrainedFeatures
            The fitted transformer.

        Raises
        ------
        ImportError
            If ONNX Runtime is not installed.
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no network of pictures, or has no such layer.
        """
        if not isinstance(self.layer, str | None):
            raise TypeError(
                f"layer is a name, as layers() lists them, or None; got {self.layer!r}."
            )
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {self.batch_size!r}.")
        if self.pool not in ("mean", "max"):
            raise ValueError(f"pool is 'mean' or 'max', got {self.pool!r}.")
        rule = _check_rule(self.preset)
        network = _Network(self.model_path)
        check_images(self, X[:1] if is_collection(X) else X, dtype=None)
        self.preprocessing_ = rule
        self.input_size_ = network.size(_size_of(rule))
        self.layer_ = self._choose(network, rule)
        self.model_sha256_ = network.sha256
        runner = self._open(network)
        blank = np.zeros((1, *self.input_size_, 3), np.float32)
        n_features = runner(blank).shape[1]
        wanted = rule["n_features"]
        if self.layer is None and wanted not in (None, n_features):
            raise ValueError(
                f"Layer {self.layer_!r} of {self.model_path} gives {n_features} columns, "
                f"but the preset expects {wanted}; name another layer (see layers())."
            )
        self.feature_names_ = np.array([f"pretrained_{i}" for i in range(n_features)])
        return self

    def _choose(self, network, rule):
        """Name the tensor to take."""
        output = network.model.graph.output[0].name
        layer = rule["layer"] if self.layer is None else self.layer
        if layer is None:
            return network.find(output)
        if layer != "penultimate" or layer in network.made_by:
            return network.find(layer)
        if self.layer is None and rule["n_features"] is not None:
            _, shape = network.values(self.input_size_).get(output, (None, None))
            if _columns(shape, network.channel_axis(output)) == rule["n_features"]:
                return output
        return network.penultimate()

    def _identity(self):
        """What the features depend on: neither the file's place, threads nor batches."""
        aside = ("model_path", "batch_size", "n_jobs")
        state = {k: v for k, v in vars(self).items() if k not in aside}
        return type(self).__name__, state

    def _key(self):
        """What an open network depends on; a forked process cannot use another's."""
        return (
            os.getpid(),
            str(self.model_path),
            self.model_sha256_,
            self.layer_,
            self.pool,
            self.n_jobs,
        )

    def _open(self, network):
        runner = _Runner(network, self.layer_, self.pool, self.n_jobs)
        _runners[self] = self._key(), runner
        return runner

    def _runner(self):
        """What runs the network: held since `fit`, or opened again and held."""
        key, runner = _runners.get(self, (None, None))
        if key == self._key():
            return runner
        try:
            network = _Network(self.model_path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error} If it was moved, say where to: set_params(model_path=...)."
            ) from None
        if network.sha256 != self.model_sha256_:
            raise ValueError(
                f"{self.model_path} is not the file that was fitted (its SHA-256 begins "
                f"with {network.sha256[:8]}, not {self.model_sha256_[:8]}); bring that "
                "file back, or fit again."
            )
        return self._open(network)

    def _describe(self, images):
        check_is_fitted(self)
        runner = self._runner()
        out = np.empty((len(images), self._n_features_out), np.float32)
        step = runner.batch or self.batch_size
        bar = progress(range(0, len(images), step), desc="describing", unit="batch")
        for start in bar:
            batch = images[start : start + step]
            pictures = _prepare(batch, self.input_size_, self.preprocessing_)
            rows = runner(pictures)
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                raise ValueError(
                    f"Layer {self.layer_!r} gives infinity or NaN for picture "
                    f"{start + int(finite.argmin())}; a float16 network may hold no such "
                    "values, or the preset is another network's."
                )
            out[start : start + step] = rows
        return out
