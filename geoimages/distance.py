"""PairwiseModel: every stored picture is compared with the candidate."""

from .similarity import SimilarityModel


class PairwiseModel(SimilarityModel):
    """Find similar pictures by comparing the candidate with every stored one.

    Parameters
    ----------
    k_candidates : int, default=12
        Number of pictures to return.
    dist_metric : str, default="correlation"
        Any metric name of `scipy.spatial.distance.cdist`. Distances between pictures
        are in 0–1 units, whatever the dtype.
    features : transformer, "passthrough" or None, default=None
        What to compare: the transformer's output (it is cloned and fitted; wrap a
        trained one in `sklearn.frozen.FrozenEstimator`), or the pixels.
    orientation : {"fixed", "rotations", "any"}, default="fixed"
        How the candidate may be turned: not at all, by quarters, or by quarters and
        mirrored. Each picture is as near as in its best orientation, as if turned
        copies of the collection were stored. Pictures that are not square allow half
        turns and mirrors only.
    rerank : {"auto", None}, default="auto"
        Whether features that can verify a candidate against a short list, such as
        `PatternFeatures`, re-rank it.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows. By default rows of 3·s² values are
        (s, s, 3) and pictures bring their own.
    metric_params : dict, optional
        Keywords of the distance: ``p`` (minkowski), ``V`` (seuclidean), ``VI``
        (mahalanobis), ``w``. ``V`` and ``VI`` are learned from the stored rows when
        left out.

    Attributes
    ----------
    keys_ : ndarray of shape (n,)
        Keys of the stored pictures.
    y_ : ndarray of shape (n,) or None
        Their labels.
    lineage_ : ndarray of shape (n,), int
        Pictures with the same number are turned copies of one original.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.
    features_ : transformer
        The fitted features, where there are any.
    pictures_ : ndarray, Collection or None
        The fitted pictures, where features describe them; no copy.
    thumbnails_ : ndarray or None
        What a short list is verified by, where it is.
    search_ : ExactSearch
        The stored rows.

    See Also
    --------
    KMeansModel : Searches the candidate's clusters only.

    Notes
    -----
    The distances are those of `scipy.spatial.distance.cdist` in float64, computed for
    uint8 pictures from exact integer products. Exactly equal distances are ordered by
    key. A constant picture (correlation) or a black one (cosine) is at distance 1
    from everything but an identical one.

    Examples
    --------
    >>> from geoimages import PairwiseModel, make_rocks
    >>> images, labels = make_rocks(60, random_state=0)
    >>> model = PairwiseModel(k_candidates=3).fit(images, labels)
    >>> model.predict(images[7]).index.tolist()[0]
    7
    >>> model.predict(images[7], k_candidates=2, dist_metric="euclidean").shape
    (2, 2)
    """

    _named_in_fit = "k_candidates"
    _keeps_turns_once = True

    def __init__(
        self,
        k_candidates=12,
        dist_metric="correlation",
        features=None,
        *,
        orientation="fixed",
        rerank="auto",
        image_shape=None,
        metric_params=None,
    ):
        self.k_candidates = k_candidates
        self.dist_metric = dist_metric
        self.features = features
        self.orientation = orientation
        self.rerank = rerank
        self.image_shape = image_shape
        self.metric_params = metric_params

    def _find(self, rows, k, metric, leave_out, n_orientations):
        return self.search_.search(
            rows, k, metric, leave_out=leave_out, n_orientations=n_orientations
        )
