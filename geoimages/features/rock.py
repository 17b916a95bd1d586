"""RockFeatures: tone, color, texture, gradients and learned filters, balanced."""

import numpy as np

from . import kernels
from .base import SEEN, PictureFeatures, spread, tone_scale, with_tone
from .blocks import ColorFeatures, HOGFeatures, TextureFeatures
from .convolution import ConvFeatures

_MOST_PICTURES = 4000  # enough for means and deviations of single columns
_LIMIT = 5.0


class RockFeatures(PictureFeatures):
    """Describe pictures by color, texture, oriented gradients and learned filters.

    Every column is standardised, and each block is scaled by the number of its columns
    that vary, so that blocks of equal weight have equal say in a distance. One block
    keeps its units: `tone`, quantiles of CIELAB, where equal differences look about
    equal and lightness, which varies most, counts most.

    Parameters
    ----------
    color, texture, hog, conv : float
        Weight of each block (1, 1, 0 and 0.7 by default); 0 leaves it out.
    tone : float, default=1.0
        Weight of the tone. Turn it down where the light is not the same in all
        pictures.
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
    mean_, inverse_deviation_, say_ : ndarray of shape (n_features_out,)
        What is taken off each column, what standardises it, and its say.
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

    Correlation forgets how far from the common a picture is; euclidean distances, the
    better measure of how alike two pictures look, keep it.

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

    def __init__(
        self,
        color=1.0,
        texture=1.0,
        hog=0.0,
        conv=0.7,
        *,
        tone=1.0,
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
        self.n_filters = n_filters
        self.random_state = random_state

    def _learn(self, images):
        weights = {
            name: float(getattr(self, name))
            for name in ("tone", "color", "texture", "hog", "conv")
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
        self.blocks_ = {name: blocks[name] for name in blocks if weights[name] > 0}
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
        deviation = rows.std(axis=0, dtype=np.float64)
        varies = deviation > SEEN
        say = np.empty(len(deviation))
        for name in dict.fromkeys(self.block_of_):
            block = self.block_of_ == name
            if name == "tone":
                say[block] = weights[name] * tone_scale(deviation[block])
            else:
                say[block] = weights[name] / np.sqrt(max(1, varies[block].sum()))
        say *= np.sqrt(max(1, varies.sum()) / sum(w**2 for w in weights.values()))
        self.mean_ = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.inverse_deviation_ = (1 / (deviation + SEEN)).astype(np.float32)
        self.say_ = say.astype(np.float32)

    def _columns(self, rgb, lab, mask):
        columns = {
            part if part.startswith(name) else f"{name}_{part}": values
            for name, block in self.blocks_.items()
            for part, values in block._columns(rgb, lab, mask).items()
        }
        return with_tone(columns, self.tone, lab, mask)

    def _finish(self, columns):
        rows = super()._finish(columns)
        rows -= self.mean_
        rows *= self.inverse_deviation_
        np.clip(rows, -_LIMIT, _LIMIT, out=rows)
        rows *= self.say_
        return rows
