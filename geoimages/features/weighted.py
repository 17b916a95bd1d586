"""Base class of weighted feature blocks: standardized columns, and the tone."""

import math

import numpy as np

from ..pictures.validation import input_for
from . import kernels
from .base import PictureFeatures, by_content
from .pretrained import PretrainedFeatures

LIMIT = 5.0  # deviations beyond which a standardized value is clipped
VARIES = 1e-4  # a column with a smaller deviation is constant up to rounding
_MOST_PICTURES = 4000  # enough for means and deviations of single columns
_LEAST_TONE = 15.0  # 5 CIELAB units at each of 9 levels: less is not blown up


def tone_scale(deviation):
    """Scale that restores a common unit for standardized tone columns: (k,) -> (k,).

    Their variances then sum to 1, unless the pictures are of one tone.
    """
    return (deviation + VARIES) / max(np.linalg.norm(deviation), _LEAST_TONE)


class WeightedFeatures(PictureFeatures):
    """Base of features that concatenate weighted blocks of columns.

    A subclass lists its transformers in `_make_blocks` and the parameters with their
    weights in ``_weighted``; `_weigh` fits to standardized rows what `_apply_weights`
    applies. The block ``tone``, quantiles of CIELAB, needs no transformer. A network
    describes the pictures themselves, the other blocks those of the working size.
    """

    _weighted = ()

    def _make_blocks(self):
        """Unfitted transformers by name."""
        raise NotImplementedError

    def _weigh(self, weights, rows, deviation, images):
        """Learn the weighting of standardized rows (n, k) with deviations (k,)."""
        raise NotImplementedError

    def _apply_weights(self, rows):
        """Weight standardized rows: (n, k) -> (n, k)."""
        raise NotImplementedError

    def _block_weights(self):
        """The weight of each block: {name: float}."""
        return {name: float(getattr(self, name)) for name in self._weighted}

    def _learn(self, images):
        weights = self._block_weights()
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(
                "The weights of the blocks must be 0 or more, and one above 0; got "
                f"{weights}."
            )
        self.blocks_ = {}
        for name, block in self._make_blocks().items():
            if weights[name] > 0:
                if not isinstance(block, PretrainedFeatures):
                    block.set_params(working_side=self.working_side)
                self.blocks_[name] = block.fit(input_for(block, images))
        sample = images[by_content(images, _MOST_PICTURES)]
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
        self.mean_ = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.inverse_deviation_ = (1 / (deviation + VARIES)).astype(np.float32)
        self._weigh(weights, self._standardize(rows), deviation, images)

    def _chunk(self, images):
        columns = super()._chunk(images)
        for name, block in self.blocks_.items():
            if isinstance(block, PretrainedFeatures):
                columns[name] = block._describe(images)
        return columns

    def _columns(self, rgb, lab, mask):
        columns = {
            part if part.startswith(name) else f"{name}_{part}": values
            for name, block in self.blocks_.items()
            if not isinstance(block, PretrainedFeatures)
            for part, values in block._columns(rgb, lab, mask).items()
        }
        if self.tone > 0:
            known = columns.get("color_quantile_lab")
            columns["tone"] = kernels.tone_statistics(lab, mask, known)
        return columns

    @property
    def shares_tiles(self):
        """Whether overlapping tiles are described at once: all blocks in use can be."""
        blocks = getattr(self, "blocks_", {}).values()
        return self.tone == 0 and all(block.shares_tiles for block in blocks)

    def _grid(self):
        return math.lcm(*(block._grid() for block in self.blocks_.values()))

    def _tile_columns(self, lab, tops, lefts, side):
        return {
            part if part.startswith(name) else f"{name}_{part}": values
            for name, block in self.blocks_.items()
            for part, values in block._tile_columns(lab, tops, lefts, side).items()
        }

    def _standardize(self, rows):
        rows = (rows - self.mean_) * self.inverse_deviation_
        return np.clip(rows, -LIMIT, LIMIT, out=rows)

    def _finish(self, columns):
        return self._apply_weights(self._standardize(super()._finish(columns)))
