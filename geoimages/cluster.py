"""KMeansModel: search only the clusters nearest to the candidate."""

import numbers

from sklearn.utils.validation import check_is_fitted

from .search import InvertedFile
from .search.clustering import Clustering, inertia_of
from .search.ivf import check_algorithm, choose_algorithm
from .search.metrics import check_metric
from .similarity.base import check_count
from .similarity.sharded import ShardedInvertedFile, ShardedSearch
from .similarity.sharded_clusters import ShardedClustering
from .similarity.sharded_lists import write_lists
from .similarity.updating import UpdatableModel

_MOST_GATHERED = 1 << 30  # bytes of the rows of a folder that are clustered in memory


def _is_small(engine):
    """Whether rows that lie in several files are few enough to be read at once."""
    return engine.rows.size * engine.rows.itemsize <= _MOST_GATHERED


class KMeansModel(UpdatableModel):
    """Find similar pictures in the k-means clusters nearest to the candidate.

    Parameters
    ----------
    num_clusters : int, default=3
        Number of clusters of the stored pictures.
    k_candidates : int, default=12
        Number of pictures to return.
    dist_metric : str, default="correlation"
        Any metric of `scipy.spatial.distance.cdist`, to rank the pictures of the
        clusters searched. The clustering itself is euclidean.
    features : transformer, "passthrough" or None, default=None
        The features to compare; None means pixels. The transformer is cloned and
        fitted; wrap a fitted one in `sklearn.frozen.FrozenEstimator`.
    clusters_searched : int, default=1
        Number of clusters to search, nearest first. More clusters take longer and miss
        less; ``num_clusters`` is exact.
    recall_target : float, optional
        Recall of the true neighbors, in (0, 1]; the number of clusters searched is
        chosen to reach it on the stored pictures, overriding `clusters_searched`.
    orientation : {"fixed", "rotations", "any"}, default="fixed"
        Orientations of the candidate to try: only the given one, rotations by multiples
        of 90°, or rotations and mirror images. The distance to a picture is that of the
        best orientation, as if rotated copies of the collection were stored. Pictures
        that are not square are only rotated by 180°.
    rerank : {"auto", None}, default="auto"
        Whether features that can verify a candidate against a short list, such as
        `PatternFeatures`, re-rank it.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows. By default rows of 3·s² values are
        (s, s, 3) and pictures bring their own.
    metric_params : dict, optional
        Parameters of the distance: ``p`` (minkowski), ``V`` (seuclidean), ``VI``
        (mahalanobis), ``w``. ``V`` and ``VI`` are estimated from the stored rows by
        default.
    pooling : {"auto", None}, default="auto"
        Whether pictures are clustered on their 2 × 2 block means, which is some hundred
        times faster than on all pixels, at the same inertia within 1 %. Features are
        never pooled.
    n_init : int or "auto", default="auto"
        Number of initializations, as in `sklearn.cluster.KMeans`; "auto" is 4 on block
        means.
    algorithm : {"partitioned", "exact", "auto"}, default="partitioned"
        Whether to search the nearest clusters or all of them. "auto" searches all up
        to 200 million stored values (pictures × columns).
    random_state : int, RandomState or None, default=0
        Seed of k-means.
    n_jobs : int, optional
        Number of threads for the search, as in `joblib.Parallel`. The answers do not
        depend on it.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (num_clusters, n_columns)
        Centers, in 0–1 units.
    labels_ : ndarray of shape (n,), int
        Cluster of each stored picture.
    inertia_ : float
        Sum of squared distances of the pictures to their centers.
    keys_ : ndarray of shape (n,)
        Keys of the stored pictures.
    y_ : ndarray of shape (n,) or None
        Their labels.
    lineage_ : ndarray of shape (n,), int
        Pictures with the same number are rotated copies of one original, or tiles of
        one photograph.
    boxes_ : ndarray of shape (n, 3), int64, or None
        x, y and side of tiles in pixels of their photograph.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.
    features_ : transformer
        The fitted features, if any.
    pictures_ : ndarray, Collection or None
        The fitted pictures (not a copy), if there are features.
    thumbnails_ : ndarray or None
        Thumbnails for the verification of a short list, if any.
    clusters_searched_ : int
        Number of clusters searched.
    recall_ : float
        Recall of the true ``k_candidates`` nearest neighbors, measured in `fit` on 256
        of the stored pictures against exact search.
    recall_curve_ : ndarray of shape (num_clusters,)
        The recall with 1, 2, … clusters searched.
    n_rebuilds_ : int
        Number of times that `add` and `remove` rebuilt the clusters.
    mean_list_size_ : float
        Size of a picture's cluster, averaged over the pictures, at the last clustering.
    search_ : InvertedFile
        The search engine, with the stored rows by cluster.

    See Also
    --------
    PairwiseModel : Exact search, or search of the nearest of many small clusters.

    Notes
    -----
    If the clusters searched hold fewer than ``k_candidates`` pictures, the next nearest
    clusters are searched. A candidate near the border of its cluster has neighbors in
    other clusters: on raw pixels, one of three clusters finds about half of them.

    Examples
    --------
    >>> from geoimages import KMeansModel, make_rocks
    >>> images, labels = make_rocks(60, random_state=0)
    >>> model = KMeansModel(num_clusters=4, random_state=0).fit(images)
    >>> model.predict(images[7], k_candidates=3).index.tolist()[0]
    7
    >>> len(model.model_inertias(range(1, 4)))
    3
    """

    _named_in_fit = "num_clusters"

    def __init__(
        self,
        num_clusters=3,
        k_candidates=12,
        dist_metric="correlation",
        features=None,
        *,
        clusters_searched=1,
        recall_target=None,
        orientation="fixed",
        rerank="auto",
        image_shape=None,
        metric_params=None,
        pooling="auto",
        n_init="auto",
        algorithm="partitioned",
        random_state=0,
        n_jobs=None,
    ):
        self.num_clusters = num_clusters
        self.k_candidates = k_candidates
        self.dist_metric = dist_metric
        self.features = features
        self.clusters_searched = clusters_searched
        self.recall_target = recall_target
        self.orientation = orientation
        self.rerank = rerank
        self.image_shape = image_shape
        self.metric_params = metric_params
        self.pooling = pooling
        self.n_init = n_init
        self.algorithm = algorithm
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X, y=None, *, num_clusters=None):
        """Store the pictures and cluster them.

        Parameters
        ----------
        X, y
            As in `PairwiseModel.fit`.
        num_clusters : int, optional
            Number of clusters; overrides the model's for this call.

        Returns
        -------
        self : KMeansModel
            The fitted model.

        Raises
        ------
        TypeError
            If `y` is a number: name it, ``num_clusters=4``.
        ValueError
            If there are fewer pictures than clusters, or an option is unknown.
        """
        k = self.num_clusters if num_clusters is None else num_clusters
        check_count("num_clusters", k)
        rows = self._learn(X, y)
        if k > len(rows):
            raise ValueError(
                f"num_clusters={k} is more than there are pictures "
                f"(n_samples={len(rows)}); use {len(rows)} or fewer."
            )
        self._index(rows, k)
        return self

    def _check_parameters(self):
        super()._check_parameters()
        check_count("clusters_searched", self.clusters_searched)
        check_algorithm(self.algorithm, self.recall_target)
        if self.pooling not in ("auto", None):
            raise ValueError(f"pooling must be 'auto' or None, got {self.pooling!r}.")

    def _index(self, rows, n_clusters):
        """Store the rows by cluster."""
        exact = self._exact_search(rows)
        if _is_small(exact):
            exact = exact.gathered()
        self.labels_, self.cluster_centers_, self.inertia_ = self._clustering(
            exact
        ).fit(n_clusters, self.random_state)
        if isinstance(exact, ShardedSearch):
            metric = check_metric(self.dist_metric)
            lists = write_lists(exact.paths, self.cluster_centers_, None, metric)
            self.search_ = exact.by_lists(lists, metric)
        else:
            self.search_ = InvertedFile(
                exact.rows,
                exact.rank,
                self.labels_,
                self.cluster_centers_,
                self.metric_params,
                self.dist_metric,
            )
        self.mean_list_size_ = self.search_.mean_list_size
        self._measure_recall()

    def _fewest_pictures(self):
        return len(self.cluster_centers_)

    def _follow(self, rows, kept):
        """Update the search engine to rows: the kept positions, then new rows."""
        params, centers = self.metric_params, self.cluster_centers_
        self.search_ = self.search_.changed(
            rows, self.search_rank_, kept, params, self.dist_metric
        )
        self.labels_ = self.search_.labels
        self.inertia_ = inertia_of(rows, self.labels_, centers)
        if self._is_unbalanced():
            self.n_rebuilds_ += 1
            self._index(rows, len(centers))

    def _measure_recall(self):
        """Choose the number of clusters to search, and measure the recall."""
        n_clusters = len(self.cluster_centers_)
        metric = check_metric(self.dist_metric)
        k = self.k_candidates
        self.recall_curve_ = self.search_.tune(self.recall_target or 1, k, metric)
        searched = min(self.clusters_searched, n_clusters)
        if choose_algorithm(self.algorithm, self.search_.rows) == "exact":
            searched = n_clusters
        elif self.recall_target is not None:
            searched = self.search_.nprobe
        self.clusters_searched_ = self.search_.nprobe = searched
        self.recall_ = float(self.recall_curve_[searched - 1])

    def _clustering(self, engine):
        if isinstance(engine, ShardedSearch | ShardedInvertedFile):
            return ShardedClustering(engine.sources, self.n_init)
        pictures = self._compares_pixels and self.pooling == "auto"
        height, width, channels = self.image_shape_
        shape = (height, width, 3 if channels == 4 else channels)
        return Clustering(engine.rows, shape if pictures else None, self.n_init)

    def predict(
        self,
        X,
        k_candidates=None,
        dist_metric=None,
        *,
        exclude="lineage",
        orientation=None,
        explain=False,
        among=None,
        clusters_searched=None,
    ):
        """Find the pictures most similar to each candidate in its nearest clusters.

        Parameters
        ----------
        X, k_candidates, dist_metric, exclude, orientation, explain, among
            As in `PairwiseModel.predict`.
        clusters_searched : int, optional
            Number of clusters to search; overrides the model's for this call.

        Returns
        -------
        matches : DataFrame
            The ranked table, as returned by `PairwiseModel.predict`. If the clusters
            searched hold too few pictures, the next nearest are searched.

        Raises
        ------
        KeyError
            If a key is not among the fitted ones.
        ValueError
            If the pixels do not fit the fitted pictures, or an option is unknown.
        """
        return self._predict(
            X,
            k_candidates,
            dist_metric,
            exclude,
            orientation,
            explain,
            among,
            clusters_searched=clusters_searched,
        )

    def _find(self, rows, k, metric, exclude, n_orientations, clusters_searched=None):
        if clusters_searched is not None:
            check_count("clusters_searched", clusters_searched)
        return self.search_.search(
            rows, k, metric, exclude, n_orientations, clusters_searched, self.n_jobs
        )

    def model_inertias(self, clusters):
        """Return the inertia of k-means for several numbers of clusters.

        New models are fitted on the stored pictures; this one is not changed.

        Parameters
        ----------
        clusters : iterable of int
            Numbers of clusters to try.

        Returns
        -------
        inertias : list of float
            Sum of squared distances to the nearest center, in 0–1 units, for each
            number of clusters.

        Raises
        ------
        TypeError
            If `clusters` is a single number.
        ValueError
            If a number is below 1 or above the number of stored pictures.
        """
        check_is_fitted(self)
        if isinstance(clusters, numbers.Number):
            raise TypeError(
                f"clusters must be a list or range of numbers, got {clusters!r}; "
                f"pass range(1, {clusters + 1}), for example."
            )
        clusters = [check_count("clusters", k) for k in clusters]
        if clusters and max(clusters) > len(self.keys_):
            raise ValueError(
                f"clusters holds {max(clusters)}, but only {len(self.keys_)} "
                "pictures are stored."
            )
        clustering = self._clustering(self.search_)
        return clustering.inertias(clusters, self.random_state)
