"""Contributions of feature blocks to a distance."""

import numpy as np
from sklearn.pipeline import Pipeline

_EXPLAINED = ("correlation", "cosine", "cityblock", "sqeuclidean")


def blocks_of(features):
    """Return the block of each column of a fitted transformer.

    Parameters
    ----------
    features : transformer
        With ``block_of_``, or with column names such as ``color__mean``, as in
        `sklearn.pipeline.FeatureUnion` and `sklearn.compose.ColumnTransformer`.

    Returns
    -------
    blocks : ndarray of shape (n_features_out,), str

    Raises
    ------
    ValueError
        If the columns belong to no blocks.
    """
    if isinstance(features, Pipeline):
        features = features.steps[-1][1]
    blocks = getattr(features, "block_of_", None)
    if blocks is None and hasattr(features, "get_feature_names_out"):
        names = [str(name) for name in features.get_feature_names_out()]
        if all("__" in name for name in names):
            blocks = [name.split("__")[0] for name in names]
    if blocks is None:
        raise ValueError(
            f"explain=True needs features in blocks, and {type(features).__name__} has "
            "none; use RockFeatures() or a FeatureUnion."
        )
    return np.asarray(blocks)


def block_shares(candidates, rows, distance, metric, blocks):
    """Divide distances among blocks of columns.

    Parameters
    ----------
    candidates, rows : ndarray of shape (k, d)
        Compared row by row; uint8 means 0–255 and float 0–1.
    distance : ndarray of shape (k,)
        Their distances.
    metric : {"correlation", "cosine", "cityblock", "sqeuclidean"}
        The first two are half the squared euclidean distance of unit vectors, which is
        a sum over columns.
    blocks : ndarray of shape (d,), str
        The block of each column.

    Returns
    -------
    shares : dict of str to ndarray of shape (k,)
        By block, in column order; they add up to the distance.

    Raises
    ------
    ValueError
        If the distance is not a sum over columns.

    Examples
    --------
    >>> import numpy as np
    >>> blocks = np.array(["color", "color", "texture"])
    >>> a, b = np.array([[0.0, 1.0, 3.0]]), np.array([[0.0, 2.0, 1.0]])
    >>> block_shares(a, b, np.array([3.0]), "cityblock", blocks)
    {'color': array([1.]), 'texture': array([2.])}
    """
    if metric not in _EXPLAINED:
        raise ValueError(
            f"explain=True cannot divide {metric!r}, which is not a sum over columns; "
            f"expected one of {', '.join(_EXPLAINED)}."
        )
    a, b = (
        np.asarray(x, np.float64) / (255 if x.dtype == np.uint8 else 1)
        for x in (candidates, rows)
    )
    if metric == "correlation":
        a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    if metric in ("correlation", "cosine"):
        lengths = (np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        a, b = (x / np.where(n > 0, n, 1) for x, n in zip((a, b), lengths, strict=True))
    terms = np.abs(a - b) if metric == "cityblock" else (a - b) ** 2
    names = list(dict.fromkeys(blocks.tolist()))
    sums = np.stack([terms[:, blocks == name].sum(axis=1) for name in names])
    total = sums.sum(axis=0)
    # Rows of zero length are at distance 1 by definition; no block contributes.
    sums = np.where(total > 0, sums, 1)
    sums = sums * (distance / sums.sum(axis=0))
    return dict(zip(names, sums, strict=True))


def can_explain(model, metric=None):
    """Whether a fitted model can divide its distances among feature blocks."""
    features = getattr(model, "features_", None)
    if features is None or (metric or model.dist_metric) not in _EXPLAINED:
        return False
    try:
        blocks_of(features)
    except ValueError:
        return False
    return True
