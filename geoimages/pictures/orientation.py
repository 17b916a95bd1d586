"""How a candidate may be turned while it is compared."""

import numpy as np

ORIENTATIONS = ("fixed", "rotations", "any")


def check_orientation(orientation, image_shape=None):
    """Return the turns that an orientation stands for.

    Parameters
    ----------
    orientation : {"fixed", "rotations", "any"}
        Not turned; by quarters; by quarters, mirrored or not.
    image_shape : tuple of int, optional
        (height, width, channels). Pictures that are not square allow half turns only.

    Returns
    -------
    turns : list of (degrees, mirrored)
        The picture as it is comes first.

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
            "(quarter turns) or 'any' (quarter turns, mirrored or not)."
        )
    if orientation == "fixed":
        return [(0, False)]
    square = image_shape is None or image_shape[0] == image_shape[1]
    return [
        (degrees, mirrored)
        for mirrored in ((False, True) if orientation == "any" else (False,))
        for degrees in ((0, 90, 180, 270) if square else (0, 180))
    ]


def turn(images, degrees, mirrored):
    """Mirror pictures left-right, then turn them counter-clockwise.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels)
        Pictures.
    degrees : {0, 90, 180, 270}
        As `numpy.rot90` turns.
    mirrored : bool
        Whether to mirror first.

    Returns
    -------
    images : ndarray of shape (n, height, width, channels)
        The sides change places for a quarter turn.
    """
    images = images[:, :, ::-1] if mirrored else images
    return np.rot90(images, degrees // 90, axes=(1, 2))
