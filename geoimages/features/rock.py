"""RockFeatures: color, texture, gradients and learned filters, balanced."""

import numpy as np

from . import kernels
from .base import PictureFeatures, spread
from .blocks import ColorFeatures, HOGFeatures, TextureFeatures
from .convolution import ConvFeatures

_MOST_PICTURES = 4000  # enough for means and deviations of single columns
_LIMIT = 5.0


class RockFeatures(PictureFeatures):
    """Describe pictures by color, texture, oriented gradients and learned filters.

    Every column is standardised, and each block is scaled by the number of its columns,
    so that blocks of equal weight have about equal say in a distance (columns that
    never vary say nothing).

    Parameters
    ----------
    color, texture, hog, conv : float
        Weight of each block (1, 1, 0 and 1 by default); 0 leaves it out.
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
        The fitted transformer of each block in use, by name.
    mean_, inverse_deviation_, say_ : ndarray of shape (n_features_out,)
        What is taken off each column, what standardises it, and its block's say.
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns, each beginning with its block's.
    block_of_ : ndarray of shape (n_features_out,), str
        The block of each column.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    See Also
    --------
    ColorFeatures, TextureFeatures, HOGFeatures, ConvFeatures : The blocks.

    Notes
    -----
    Standardised values beyond ±5 are cut off. A fourth channel is a mask: features are
    those of the rock only. The columns do not depend on the size of the pictures.

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

    def __init__(
        self,
        color=1.0,
        texture=1.0,
        hog=0.0,
        conv=1.0,
        *,
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
        self.n_filters = n_filters
        self.random_state = random_state

    def _learn(self, images):
        weights = {
            name: float(getattr(self, name))
            for name in ("color", "texture", "hog", "conv")
        }
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(
                "The weights of the blocks are 0 or more, and one above 0; got "
                f"{weights}."
            )
        blocks = {
            "color": ColorFeatures(),
            "texture": TextureFeatures(),
            "hog": HOGFeatures(),
            "conv": ConvFeatures(
                self.n_filters, stride=3, random_state=self.random_state
            ),
        }
        self.blocks_ = {name: blocks[name] for name in weights if weights[name] > 0}
        for block in self.blocks_.values():
            block.set_params(working_side=self.working_side)
            block.fit(images)
        sample = images[spread(len(images), _MOST_PICTURES)]
        step = kernels.chunk_length(*images.shape[1:3])
        parts = [
            self._chunk(sample[start : start + step])
            for start in range(0, len(sample), step)
        ]
        rows = np.concatenate([np.hstack(list(part.values())) for part in parts])
        self.block_of_ = np.repeat(
            [name.split("_")[0] for name in parts[0]],
            [part.shape[1] for part in parts[0].values()],
        )
        names, counts = np.unique(self.block_of_, return_counts=True)
        say = {
            name: weights[name] / np.sqrt(n)
            for name, n in zip(names, counts, strict=True)
        }
        say = np.array([say[name] for name in self.block_of_])
        say /= np.sqrt(np.mean(say**2))
        self.mean_ = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = rows.std(axis=0, dtype=np.float64)
        self.inverse_deviation_ = (1 / (deviation + 1e-4)).astype(np.float32)
        self.say_ = say.astype(np.float32)

    def _columns(self, rgb, lab, mask):
        return {
            part if part.startswith(name) else f"{name}_{part}": columns
            for name, block in self.blocks_.items()
            for part, columns in block._columns(rgb, lab, mask).items()
        }

    def _finish(self, columns):
        rows = super()._finish(columns)
        rows -= self.mean_
        rows *= self.inverse_deviation_
        np.clip(rows, -_LIMIT, _LIMIT, out=rows)
        rows *= self.say_
        return rows
