"""White ground around a cut-out, as a mask."""

import numpy as np
from scipy import ndimage

_WHITE = 244.5 / 255  # of every channel: compression stains white paper
_SIDE = 64  # pixels of the shorter side: a small tile may be a white roof
_AROUND = 0.5  # of the border, at least, is ground
_EDGE = 2  # pixels, in which rock and ground mix, and compression leaves a fringe
_LEAST = 0.05  # of a picture that is rock: less is not enough to describe
# Rock that is overexposed has holes and islands everywhere, along the border, too.
_CROSSINGS = 8  # of the border, from ground to rock or back
_OUTLINE = 12  # in roots of the area of the rock; 4 is a square


def _is_rock(white):
    """All but white that reaches the border, and its edge: (h, w) bool."""
    parts = ndimage.label(white)[0]
    reaches = np.zeros(parts.max() + 1, bool)
    reaches[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = True
    reaches[0] = False  # what is not white
    rock = ~reaches[parts]
    for _ in range(_EDGE):
        wide = np.pad(rock, 1, "edge")
        rock = rock & wide[:-2, 1:-1] & wide[2:, 1:-1]
        rock &= wide[1:-1, :-2]
        rock &= wide[1:-1, 2:]
    return rock


def _is_cut_out(rock, white):
    """Whether what is not ground is one thing or some, not overexposed rock."""
    area = np.count_nonzero(rock)
    if area < _LEAST * rock.size:
        return False
    around = [white[0], white[1:, -1], white[-1, -2::-1], white[-2::-1, 0]]
    if np.count_nonzero(np.diff(np.concatenate(around))) <= _CROSSINGS:
        return True
    outline = np.count_nonzero(rock[1:] != rock[:-1])
    outline += np.count_nonzero(rock[:, 1:] != rock[:, :-1])
    return outline <= _OUTLINE * area**0.5


def find_rock(images):
    """Find the rock of cut-outs on white ground: (n, h, w, c) -> (n, h, w) bool, or None.

    A picture is a cut-out if half of its border is white, and the outline of what is
    left is not as ragged as that of overexposed rock. What is white and connected to
    the border is ground, as is an edge of two pixels. All is rock in other pictures, in
    those with a mask, and where less than 5 % would be left. None if there is no
    cut-out, or the shorter side is below 64 pixels.
    """
    n, height, width, channels = images.shape
    if min(height, width) < _SIDE:
        return None
    full = 255 if images.dtype == np.uint8 else 1
    limit = _WHITE * full
    edges = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    border = np.concatenate(edges, axis=1)[..., :3]
    bright = (border.min(axis=2) > limit).mean(axis=1) >= _AROUND
    if images.dtype != np.uint8:  # rows of another scale are no pictures
        bright &= border.max(axis=(1, 2)) < 1.01
    found = None
    for i in np.flatnonzero(bright):
        white = images[i, ..., 0] > limit
        for channel in range(1, min(3, channels)):
            white &= images[i, ..., channel] > limit
        if channels == 4 and images[i, ..., 3].min() <= full * 127 / 255:
            continue
        rock = _is_rock(white)
        if _is_cut_out(rock, white):
            found = np.ones((n, height, width), bool) if found is None else found
            found[i] = rock
    return found


def mask_ground(images):
    """Give cut-outs on white ground a mask: (n, h, w, c) -> (n, h, w, c or 4)."""
    rock = find_rock(images)
    if rock is None:
        return images
    full = 255 if images.dtype == np.uint8 else 1
    out = np.full((*rock.shape, 4), full, images.dtype)
    out[..., :3] = images[..., :3]
    if images.shape[3] == 4:
        out[..., 3] = images[..., 3]
    out[..., 3] *= rock
    return out
