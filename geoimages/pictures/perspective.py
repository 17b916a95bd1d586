"""Quadrilaterals of pictures seen from the front: mapping of points, and warping."""

import numpy as np
from skimage import transform


def to_front(corners):
    """The map from a picture to the unit square that its four corners become.

    Parameters
    ----------
    corners : ndarray of shape (4, 2)
        (x, y) of what becomes (0, 0), (1, 0), (1, 1) and (0, 1).

    Returns
    -------
    matrix : ndarray of shape (3, 3)
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = np.asarray(corners, float)
    # Heckbert (1989), Fundamentals of texture mapping: square to quadrilateral.
    a = np.array([[x1 - x2, x3 - x2], [y1 - y2, y3 - y2]])
    g, h = np.linalg.solve(a, [x0 - x1 + x2 - x3, y0 - y1 + y2 - y3])
    matrix = np.array(
        [
            [x1 - x0 + g * x1, x3 - x0 + h * x3, x0],
            [y1 - y0 + g * y1, y3 - y0 + h * y3, y0],
            [g, h, 1],
        ]
    )
    return np.linalg.inv(matrix)


def mapped(matrix, points):
    """Map points (..., 2) by a 3 × 3 matrix."""
    points = np.asarray(points, float)
    flat = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)
    out = flat @ np.asarray(matrix).T
    return out[..., :2] / out[..., 2:]


def straight_size(corners):
    """Height and width of a quadrilateral seen from the front: its mean sides, pixels."""
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    across, along = (sides[1] + sides[3]) / 2, (sides[0] + sides[2]) / 2
    return max(1, round(across)), max(1, round(along))


def straighten(image, corners, size=None):
    """Show a quadrilateral of a picture from the front.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
    corners : ndarray of shape (4, 2)
        (x, y) of what becomes the upper left, upper right, lower right and lower left.
        Pixel (0, 0) covers x and y from 0 to 1.
    size : (int, int), optional
        Height and width in pixels, by default as large as on the picture.

    Returns
    -------
    part : ndarray of shape (height, width, 3), uint8
    """
    corners = np.asarray(corners, float)
    height, width = straight_size(corners) if size is None else size
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, None)
    high = np.ceil(corners.max(axis=0)).astype(int) + 2
    part = image[low[1] : high[1], low[0] : high[0]]
    if not part.size:
        return np.zeros((height, width, 3), np.uint8)
    # From the centers of pixels of the result to those of the picture.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    back = np.linalg.inv(to_front(corners - low)) @ np.diag([1 / width, 1 / height, 1])
    back = np.linalg.inv(half) @ back @ half
    out = transform.warp(
        part,
        transform.ProjectiveTransform(back),
        output_shape=(height, width),
        order=1,
        mode="edge",
        preserve_range=True,
    )
    return (out + 0.5).astype(np.uint8)
