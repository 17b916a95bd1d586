"""PairwiseModel: every stored picture is compared with the candidate."""

from .search import FaissSearch, InvertedFile
from .search.clustering import partition
from .search.faiss_factory import check_faiss
from .search.ivf import check_algorithm, choose_algorithm
from .search.metrics import check_metric
from .similarity.updating import UpdatableModel


class PairwiseModel(UpdatableModel):
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
        How the candidate may be rotated: not at all, by quarters, or by quarters and
        mirrored. Each picture is as near as in its best orientation, as if rotated
        copies of the collection were stored. Pictures that are not square are rotated
        by 180 degrees only.
    rerank : {"auto", None}, default="auto"
        Whether features that can verify a candidate against a short list, such as
        `PatternFeatures`, re-rank it.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows. By default rows of 3·s² values are
        (s, s, 3) and pictures bring their own.
    metric_params : dict, optional
        Keywords of the distance: ``p`` (minkowski), ``V`` (seuclidean), ``VI``
        (mahalanobis), ``w``. ``V`` and ``VI`` are learned from the stored rows by
        default.
    algorithm : {"exact", "partitioned", "faiss", "auto"}, default="exact"
        Whether each stored picture is compared, or those of the nearest of many
        clusters, which finds `recall_target` of the true neighbors and pays from some
        hundred thousand pictures on. "auto" is exact up to 200 million stored values
        (pictures × columns): a tenth of a second a candidate. "faiss" compares those
        that an index of faiss names (`pip install 'geoimages[faiss]'`).
    recall_target : float, default=0.95
        Share of the true ``k_candidates`` nearest that a partitioned search or faiss
        is to find, in (0, 1]: as many clusters are searched as that takes on the
        stored pictures.
    faiss_factory : str, optional
        The index of faiss, as `faiss.index_factory` takes it, for example
        "IVF1024,SQ8" or "HNSW32"; by default "Flat" for fewer than 10,000 pictures,
        else 4 √n lists of whole rows.
    random_state : int, RandomState or None, default=0
        Seed of the partition.
    n_jobs : int, optional
        Threads that search, as `joblib.Parallel` counts them. The answers do not
        depend on it; faiss takes one.

    Attributes
    ----------
    keys_ : ndarray of shape (n,)
        Keys of the stored pictures.
    y_ : ndarray of shape (n,) or None
        Their labels.
    lineage_ : ndarray of shape (n,), int
        Pictures with the same number are rotated copies of one original.
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
    search_ : ExactSearch, InvertedFile or FaissSearch
        The stored rows.
    algorithm_ : {"exact", "partitioned", "faiss"}
        How they are searched.
    recall_ : float
        Share of the true ``k_candidates`` nearest found: 1 for exact search, else
        measured at `fit` on 256 of the stored pictures against exact search.
    clusters_searched_ : int or None
        How many clusters are searched, of about 2 √n; for faiss its ``nprobe``, None
        where its index has no lists.
    recall_curve_ : ndarray of shape (n_clusters,) or None
        The recall with 1, 2, … clusters searched; None for exact search and faiss.
    n_rebuilds_ : int
        How often `add` and `remove` made the clusters, or the index of faiss, again.
    mean_list_size_ : float
        Pictures in the cluster (or list) of a picture, on average over the pictures,
        when the clusters were made.

    See Also
    --------
    KMeansModel : Clusters the pictures into few groups that can be looked at.

    Notes
    -----
    The distances are those of `scipy.spatial.distance.cdist` in float64, computed for
    uint8 pictures from exact integer products. Exactly equal distances are ordered by
    key. A constant picture (correlation) or a black one (cosine) is at distance 1
    from everything but an identical one.

    A partition suits the distance it was fitted with: directions of centered rows for
    correlation, of rows for cosine, the rows themselves otherwise. Another distance
    asked of `predict` is searched in the same clusters, with a recall of its own. The
    distances in the answer are as exact as ever.

    faiss keeps rows of its own beside the stored ones, in float32 or in as little as
    its index does, and names a short list for each candidate. What is in the answer
    is then computed and ordered as in exact search, so a "Flat" index gives the
    answers of exact search. It serves correlation, cosine, euclidean and sqeuclidean,
    each by an index of its own but the last two, runs on one thread, so that the
    answer does not depend on their number, and is saved with a checksum that is
    compared before faiss reads a byte. That tells of damage, not of malice: load
    files of people you trust. A graph ("HNSW") cannot be taken from: `remove` makes
    it again.

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
    _deduplicates_rotations = True

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
        algorithm="exact",
        recall_target=0.95,
        faiss_factory=None,
        random_state=0,
        n_jobs=None,
    ):
        self.k_candidates = k_candidates
        self.dist_metric = dist_metric
        self.features = features
        self.orientation = orientation
        self.rerank = rerank
        self.image_shape = image_shape
        self.metric_params = metric_params
        self.algorithm = algorithm
        self.recall_target = recall_target
        self.faiss_factory = faiss_factory
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _check_parameters(self):
        super()._check_parameters()
        check_algorithm(self.algorithm, self.recall_target, ["faiss"])
        if self.algorithm == "faiss":
            check_faiss(self.dist_metric, self.faiss_factory, self.metric_params)

    def _index(self, rows):
        """Store the rows, clustered or indexed by faiss where they are to be."""
        self.search_ = self._exact_search(rows)
        self.algorithm_ = choose_algorithm(self.algorithm, self.search_.rows)
        self.recall_, self.clusters_searched_, self.recall_curve_ = 1.0, None, None
        metric = check_metric(self.dist_metric)
        if self.algorithm_ == "exact":
            self.search_ = self.search_.prepared(metric)
            return
        target = 1 if self.recall_target is None else self.recall_target
        if self.algorithm_ == "faiss":
            self.search_ = FaissSearch(
                self.search_, metric, self.faiss_factory, self.random_state
            )
            self.recall_ = self.search_.tune(target, self.k_candidates, metric)
        else:
            rows, rank = self.search_.rows[:], self.search_.rank
            self.search_ = InvertedFile(
                rows,
                rank,
                *partition(rows, metric, random_state=self.random_state),
                self.metric_params,
                metric,
                metric,
            )
            self.recall_curve_ = self.search_.tune(target, self.k_candidates, metric)
            searched = self.search_.nprobe
            self.recall_ = float(self.recall_curve_[searched - 1])
        self.mean_list_size_ = self.search_.mean_list_size
        self.clusters_searched_ = self.search_.nprobe

    def _fewest_pictures(self):
        return 1

    def _follow(self, rows, kept):
        """Search other rows: those kept, by positions, and any others below them."""
        engine = None
        if self.algorithm_ == "partitioned":
            rank, params = self.search_rank_, self.metric_params
            engine = self.search_.changed(rows, rank, kept, params, self.dist_metric)
        elif self.algorithm_ == "faiss":
            engine = self.search_.changed(self._exact_search(rows), kept)
        if engine is not None:
            self.search_ = engine
            algorithm = choose_algorithm(self.algorithm, rows)
            if algorithm == self.algorithm_ and not self._is_unbalanced():
                return
        self.n_rebuilds_ += self.algorithm_ != "exact"
        try:
            self._index(rows)
        except ValueError:  # too few rows are left for an index of faiss
            self.algorithm_ = "exact"

    def _find(self, rows, k, metric, exclude, n_orientations):
        return self.search_.search(
            rows,
            k,
            metric,
            exclude=exclude,
            n_orientations=n_orientations,
            n_jobs=self.n_jobs,
        )
