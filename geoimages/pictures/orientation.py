"""Orientations of a candidate: rotations and mirror images."""

import numpy as np

ORIENTATIONS = ("fixed", "rotations", "any")


def check_orientation(orientation, image_shape=None):
    """Return the rotations and reflections that an orientation stands for.

    Parameters
    ----------
    orientation : {"fixed", "rotations", "any"}
        As given; rotated by multiples of 90°; rotated and mirrored.
    image_shape : tuple of int, optional
        (height, width, channels). Pictures that are not square are rotated by 180° only.

    Returns
    -------
    orientations : list of (degrees, mirrored)
        The identity comes first.

    Raises
    ------
    ValueError
        If the orientation is unknown.

    Examples
    --------
    >>> check_orientation("rotations")
    [(0, False), (90, False), (180, False), (270, False)]
    >>> check_orientation("any", (20, 30, 3))
    [(0, False), (180, False), (0, True), (180, True)]
    """
    if orientation not in ORIENTATIONS:
        raise ValueError(
            f"orientation={orientation!r} is not known; expected 'fixed', 'rotations' "
            "(by multiples of 90°) or 'any' (rotated, mirrored or not)."
        )
    if orientation == "fixed":
        return [(0, False)]
    square = image_shape is None or image_shape[0] == image_shape[1]
    return [
        (degrees, mirrored)
        for mirrored in ((False, True) if orientation == "any" else (False,))
        for degrees in ((0, 90, 180, 270) if square else (0, 180))
    ]


def rotate(images, degrees, mirrored):
    """Mirror pictures left-right, then rotate them counter-clockwise.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels)
        Pictures.
    degrees : {0, 90, 180, 270}
        As `numpy.rot90` rotates.
    mirrored : bool
        Whether to mirror first.

    Returns
    -------
    images : ndarray of shape (n, height, width, channels)
        Height and width are swapped at 90° and 270°.
    """
    images = images[:, :, ::-1] if mirrored else images
    return np.rot90(images, degrees // 90, axes=(1, 2))
