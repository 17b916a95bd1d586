"""Input validation of estimators: rows and pictures of one shape and scale."""

import math

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import validate_data

from .scaling import check_scale, in_scale, on_white, to_uint8

_DESCRIBABLE = 1e6  # its fourth power, as of a variance's square, fits a float32


def infer_image_shape(n_features, image_shape=None):
    """Infer the (height, width, channels) of flat rows.

    Parameters
    ----------
    n_features : int
        Values in a row.
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels) as stored.

    Returns
    -------
    image_shape : tuple of int
        The shape given; otherwise (s, s, 3) if `n_features` is 3·s²; otherwise one grey
        line, (1, n_features, 1).

    Raises
    ------
    ValueError
        If `image_shape` does not hold `n_features` values.

    Examples
    --------
    >>> infer_image_shape(2352)
    (28, 28, 3)
    >>> infer_image_shape(7)
    (1, 7, 1)
    """
    if image_shape is None:
        side = math.isqrt(n_features // 3)
        return (side, side, 3) if 3 * side * side == n_features else (1, n_features, 1)
    shape = tuple(int(side) for side in image_shape)
    shape = (*shape, 1) if len(shape) == 2 else shape
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) != n_features:
        raise ValueError(
            f"Rows hold {n_features} values, which does not fit image_shape="
            f"{image_shape!r}; give (height, width, channels) as stored."
        )
    return shape


def _match_channels(images, channels):
    """Turn RGB into RGBA or RGBA into RGB on white: (n, h, w, c) -> c = channels."""
    if (images.shape[3], channels) == (4, 3):
        return on_white(images)
    if (images.shape[3], channels) == (3, 4):
        opaque = 255 if images.dtype == np.uint8 else 1
        return np.pad(images, ((0, 0),) * 3 + ((0, 1),), constant_values=opaque)
    return images


class OtherSizeError(ValueError):
    """Pictures of another shape than fitted: `given` and `expected`."""

    def __init__(self, given, expected):
        self.given, self.expected = given, expected
        super().__init__(
            f"Pictures are {_times(given)}, expected {_times(expected)}; resize them "
            "first (geoimages.resize_image)."
        )


def _flatten(images, expected):
    """Flatten (n, h, w, c) pictures after checking their shape."""
    if expected is not None:
        images = _match_channels(images, expected[2])
        if images.shape[1:] != expected:
            raise OtherSizeError(images.shape[1:], expected)
    return images.reshape(len(images), math.prod(images.shape[1:])), images.shape[1:]


def _times(shape):
    return " × ".join(map(str, shape))


def validate_rows(estimator, X, *, reset=True, dtype="numeric", **options):
    """Check rows as scikit-learn's `validate_data` does, with its errors on one line."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # of a sum that it tries
            return validate_data(estimator, X, reset=reset, dtype=dtype, **options)
    except ValueError as error:
        message = str(error)
        if message.startswith("The feature names"):  # a list, which needs its lines
            raise
        if message.startswith("Input X contains"):
            what = message.split("\n")[0].rstrip(".")
            message = f"{what}; leave those pictures out, or fill the gaps first."
        raise ValueError(" ".join(message.split())) from None


def check_images(estimator, X, *, reset=True, dtype=np.float32):
    """Check pictures or flat rows and return them as pictures.

    Sets ``n_features_in_``, ``image_shape_``, ``fitted_on_pictures_`` and
    ``fitted_in_scale_`` of the estimator when `reset`.

    Parameters
    ----------
    estimator : BaseEstimator
        Its parameter ``image_shape``, if any, is the shape of flat rows.
    X : array-like of shape (n, height, width, channels) or (n, n_features)
        Pictures with 1, 3 or 4 channels, or flat rows of them. Integers mean 0–255,
        float means 0–1. Flat rows are certain to be pictures where ``image_shape`` is
        stated, or pictures were fitted; otherwise uint8 means 0–255, and other numbers
        are taken as they are.
    reset : bool, default=True
        True in ``fit``. False checks X against the fitted pictures; RGB pictures get an
        opaque mask, and RGBA ones are composited on white, if the other was fitted.
    dtype : dtype or None, default=numpy.float32
        Float type of the result; uint8 is divided by 255. None keeps uint8, float32
        and float64 and converts other types to float64.

    Returns
    -------
    images : ndarray of shape (n, height, width, channels)
        Pictures.

    Raises
    ------
    ValueError
        If X does not fit the shape stated or fitted, holds NaN or infinity, or
        pictures beyond 0–255 (integers) or 0–1 (float), or if pictures follow flat rows
        of another scale.
    """
    if isinstance(X, list | tuple) and len(X) and getattr(X[0], "ndim", 0) == 3:
        shapes = sorted({np.shape(image) for image in X})
        if len(shapes) > 1:
            raise ValueError(
                f"Pictures have {len(shapes)} shapes, from {_times(shapes[0])} to "
                f"{_times(shapes[-1])}; resize them to one (geoimages.resize_image)."
            )
        X = np.stack(X)
    stated = getattr(estimator, "image_shape", None)
    expected = None if reset else estimator.image_shape_
    shape = None
    if getattr(X, "ndim", None) == 4:
        X, shape = _flatten(check_scale(np.asarray(X)), expected)
        if reset and shape[2] not in (1, 3, 4):
            raise ValueError(
                f"Pictures have {shape[2]} channels, expected 1 (grey), 3 (RGB) or 4 "
                "(RGB and mask); the axes are (n, height, width, channels)."
            )
        if (
            reset
            and stated is not None
            and shape != infer_image_shape(X.shape[1], stated)
        ):
            raise ValueError(
                f"Pictures are {_times(shape)}, but image_shape={stated!r}; leave "
                "image_shape out where pictures bring their own."
            )
    integers = hasattr(X, "dtypes") and all(
        getattr(dtype, "kind", "") in "iu" for dtype in X.dtypes
    )
    # Sums in single precision depend on the order of the values in memory.
    X = np.ascontiguousarray(validate_rows(estimator, X, reset=reset))
    if reset:
        estimator.image_shape_ = shape or infer_image_shape(X.shape[1], stated)
        estimator.fitted_on_pictures_ = shape is not None or stated is not None
        estimator.fitted_in_scale_ = estimator.fitted_on_pictures_ or in_scale(X)
    elif not estimator.fitted_in_scale_ and (shape is not None or X.dtype == np.uint8):
        raise ValueError(
            "Pictures are compared in 0–1, but the rows fitted lie beyond; fit pictures "
            "or uint8 rows, or divide float rows in 0–255 by 255 first."
        )
    if shape is not None or estimator.fitted_on_pictures_:
        # Of pandas' own integers scikit-learn makes float64.
        X = check_scale(X.astype(np.int64) if integers else X)
    if dtype is not None:
        X = X.astype(dtype, copy=False) / dtype(255) if X.dtype == np.uint8 else X
        X = X.astype(dtype, copy=False)
    elif X.dtype not in (np.uint8, np.float32, np.float64):
        X = X.astype(np.float64)
    return X.reshape(len(X), *estimator.image_shape_)


def check_picture(picture):
    """Validate one picture that is asked about: (h, w, 3 or 4) -> the same, uint8.

    Raises
    ------
    ValueError
        If it has another shape, less than 16 px, NaN or infinity.
    """
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise ValueError(
            "A picture must have shape (height, width, 3), got an array of shape "
            f"{picture.shape}."
        )
    if picture.dtype.kind == "f" and not np.isfinite(picture).all():
        raise ValueError("The picture holds NaN or infinity; replace these pixels.")
    height, width = picture.shape[:2]
    if min(height, width) < 16:
        raise ValueError(
            f"A picture of {width} × {height} px is too small; give one of 16 × 16 px or "
            "more."
        )
    return to_uint8(picture)


def check_describable(images):
    """Return pictures whose features fit single precision, or raise a ValueError."""
    if images.dtype != np.uint8 and images.size:
        most = max(images.max(), -images.min())
        if most > _DESCRIBABLE:
            raise ValueError(
                f"Rows hold values of up to {most:g}, too large for the features of "
                f"pictures (at most {_DESCRIBABLE:g}); scale them to 0–1 first."
            )
    return images


def input_for(transformer, images):
    """Convert pictures to the input of a transformer: pictures or flat rows.

    A transformer of this package has ``takes_pictures`` and gets the pictures, and so
    does a pipeline that starts with one. Others know neither shape nor scale and get
    flat rows in 0–1. Values beyond 0–1, from rows of unknown meaning, are passed
    unchanged.

    Parameters
    ----------
    transformer : transformer
        Fitted or not.
    images : ndarray of shape (n, height, width, channels)
        Checked pictures.

    Returns
    -------
    X : ndarray of shape (n, height, width, channels) or (n, height · width · channels)

    Raises
    ------
    ValueError
        If a union would pass flat rows to a transformer that misreads their shape.
    """
    first = _first(transformer)
    takers = [part for part in first if getattr(part, "takes_pictures", False)]
    if takers and len(takers) == len(first) and in_scale(images):
        return images
    rows, shape = images.reshape(len(images), -1), images.shape[1:]
    for part in takers:
        if infer_image_shape(rows.shape[1], part.image_shape) != shape:
            raise ValueError(
                f"The union passes flat rows to all its parts, as some do not accept "
                f"pictures; set image_shape={shape} in {type(part).__name__}."
            )
    return rows / np.float32(255) if rows.dtype == np.uint8 else rows


def _first(transformer):
    """The transformers that are given the pictures themselves."""
    if isinstance(transformer, Pipeline):
        steps = [step for _, step in transformer.steps if step != "passthrough"]
        return _first(steps[0]) if steps else []
    if isinstance(transformer, FrozenEstimator):
        return _first(transformer.estimator)
    if isinstance(transformer, FeatureUnion):
        parts = [part for _, part in transformer.transformer_list if part != "drop"]
        return [first for part in parts for first in _first(part)]
    return [transformer]


def is_collection(X):
    """Whether X is a `Collection` (duck typing)."""
    return hasattr(X, "keys") and hasattr(X, "images") and hasattr(X, "x_y")
