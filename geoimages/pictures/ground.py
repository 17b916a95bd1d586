"""White ground around a cut-out, as a mask."""

import numpy as np
from scipy import ndimage

_WHITE = 245  # of every channel: compression stains white paper
_SIDE = 64  # pixels of the shorter side: a small tile may be a white roof
_AROUND = 0.5  # of the border, at least, is ground
_LEAST = 0.02  # of a picture that is rock


def _is_rock(white):
    """All but white that reaches the border, and an edge of one pixel: (h, w) bool."""
    parts = ndimage.label(white)[0]
    reaches = np.zeros(parts.max() + 1, bool)
    reaches[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = True
    reaches[0] = False  # what is not white
    rock = np.pad(~reaches[parts], 1, "edge")
    rows = rock[:-2, 1:-1] & rock[2:, 1:-1]
    return rock[1:-1, 1:-1] & rows & rock[1:-1, :-2] & rock[1:-1, 2:]


def mask_ground(images):
    """Give cut-outs on white ground a mask: (n, h, w, c) -> (n, h, w, c or 4).

    A picture is a cut-out if half of its border is white. What is white and connected to
    the border is ground, as is an edge of one pixel, in which rock and ground mix.
    Pictures come back as they are if they have another number of channels or less than 64
    pixels a side, or none is a cut-out.
    """
    n, height, width, channels = images.shape
    if channels != 3 or min(height, width) < _SIDE:
        return images
    full = 255 if images.dtype == np.uint8 else 1
    white = _WHITE * full / 255
    border = np.concatenate(
        [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1
    )
    cut_out = (border.min(axis=2) >= white).mean(axis=1) >= _AROUND
    masks = {}
    for i in np.flatnonzero(cut_out):
        red, green, blue = np.moveaxis(images[i] >= white, 2, 0)
        rock = _is_rock(red & green & blue)
        if rock.mean() >= _LEAST:
            masks[i] = rock
    if not masks:
        return images
    out = np.full((n, height, width, 4), full, images.dtype)
    out[..., :3] = images
    for i, rock in masks.items():
        out[i, ..., 3] *= rock
    return out
