"""Projections of feature vectors to two or three dimensions."""

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.manifold import TSNE

PROJECTIONS = ("svd", "pca", "tsne")


def check_vectors(vectors):
    """Return vectors as a finite float array (n, d), or raise a ValueError."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError(
            "vectors must be rows of features, one per picture, (n, n_features), "
            f"got {vectors.shape}; flatten pictures first."
        )
    if vectors.dtype.kind not in "buif":
        raise ValueError(f"vectors must be numbers, got dtype {vectors.dtype}.")
    vectors = vectors.astype(np.result_type(vectors.dtype, np.float32), copy=False)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ValueError(
            f"vectors hold NaN or infinity in {len(bad)} of {len(vectors)} rows, first "
            f"in row {bad[0]}; leave these rows out."
        )
    return vectors


def _pad(points, n_components):
    """Pad with columns of zeros to the dimensions of the map."""
    return np.pad(points, ((0, 0), (0, n_components - points.shape[1])))


def project_vectors(vectors, method="svd", n_components=2, *, random_state=0):
    """Project feature vectors onto a few dimensions for a map.

    Parameters
    ----------
    vectors : array-like of shape (n, n_features)
        One row for each picture.
    method : {"svd", "pca", "tsne"}, default="svd"
        Truncated singular value decomposition; principal component analysis; or t-SNE
        of the first 50 principal components, which preserves neighbors but not long
        distances.
    n_components : {2, 3}, default=2
        Dimensions of the map.
    random_state : int, RandomState or None, default=0
        Seed of the decomposition.

    Returns
    -------
    points : ndarray of shape (n, n_components), float
        Dimensions beyond the rank of the data are 0.

    Raises
    ------
    ValueError
        If `vectors` is not a table of finite numbers, or a setting is unknown.

    References
    ----------
    Halko, Martinsson and Tropp (2011). Finding structure with randomness.
    SIAM Review 53, 217–288.

    van der Maaten and Hinton (2008). Visualizing data using t-SNE. JMLR 9, 2579–2605.

    Examples
    --------
    >>> points = project_vectors([[2, 0, 0], [0, 1, 0], [4, 0, 0]], "svd")
    >>> abs(points.round(6)).tolist()
    [[2.0, 0.0], [0.0, 1.0], [4.0, 0.0]]
    """
    vectors = check_vectors(vectors)
    if method not in PROJECTIONS:
        raise ValueError(
            f"method={method!r} is not known; expected one of {PROJECTIONS}."
        )
    if n_components not in (2, 3):
        raise ValueError(f"n_components must be 2 or 3, got {n_components!r}.")
    if (vectors == vectors[0]).all():
        return np.zeros((len(vectors), n_components))
    if vectors.shape[1] == 1:
        vectors = _pad(vectors, 2)  # TruncatedSVD needs two columns
    most = min(vectors.shape)
    if method == "svd":
        svd = TruncatedSVD(min(n_components, most), random_state=random_state)
        return _pad(svd.fit_transform(vectors), n_components)
    size = 50 if method == "tsne" else n_components
    points = PCA(min(size, most), random_state=random_state).fit_transform(vectors)
    start = _pad(points[:, :n_components], n_components)
    if method == "pca":
        return start
    tsne = TSNE(
        n_components,
        perplexity=min(30, max(1, (len(points) - 1) / 3)),
        init=start / start[:, 0].std() * 1e-4,
        random_state=random_state,
    )
    return tsne.fit_transform(points)
