"""PairwiseModel: compare the candidate with every stored picture."""

from .search import FaissSearch, InvertedFile
from .search.clustering import partition
from .search.faiss_factory import check_faiss
from .search.ivf import check_algorithm, choose_algorithm
from .search.metrics import check_metric
from .similarity.sharded import ShardedSearch
from .similarity.sharded_lists import partition_files
from .similarity.updating import UpdatableModel


class PairwiseModel(UpdatableModel):
    """Find similar pictures by comparing the candidate with every stored one.

    Parameters
    ----------
    k_candidates : int, default=12
        Number of pictures to return.
    dist_metric : str, default="correlation"
        Any metric of `scipy.spatial.distance.cdist`. Pictures are compared on a 0–1
        scale, whatever the dtype.
    features : transformer, "passthrough" or None, default=None
        The features to compare; None means pixels. The transformer is cloned and
        fitted; wrap a fitted one in `sklearn.frozen.FrozenEstimator`.
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
    algorithm : {"exact", "partitioned", "faiss", "auto"}, default="exact"
        The search algorithm:

        - "exact" compares every stored picture.
        - "partitioned" is an inverted file (IVF): it searches the nearest of many
          clusters, as many as `recall_target` requires, and pays off from a few hundred
          thousand pictures on.
        - "faiss" takes a short list from a faiss index
          (`pip install 'geoimages[faiss]'`).
        - "auto" is exact up to 200 million stored values (pictures × columns), a tenth
          of a second per query, and partitioned beyond.
    recall_target : float, default=0.95
        Recall of the true ``k_candidates`` nearest neighbors, in (0, 1], that a
        partitioned or faiss search is tuned to reach on the stored pictures.
    faiss_factory : str, optional
        Description of the faiss index for `faiss.index_factory`, for example
        "IVF1024,SQ8" or "HNSW32"; by default "Flat" for fewer than 10,000 pictures,
        otherwise an IVF of 4 √n lists of uncompressed rows.
    random_state : int, RandomState or None, default=0
        Seed of the clustering.
    n_jobs : int, optional
        Number of threads for the search, as in `joblib.Parallel`. The answers do not
        depend on it; faiss uses one.

    Attributes
    ----------
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
    search_ : ExactSearch, InvertedFile or FaissSearch
        The search engine with the stored rows.
    algorithm_ : {"exact", "partitioned", "faiss"}
        The search algorithm in use.
    recall_ : float
        Recall of the true ``k_candidates`` nearest neighbors: 1 for exact search,
        otherwise measured in `fit` on 256 of the stored pictures against exact search.
    clusters_searched_ : int or None
        Number of clusters searched, of about 2 √n; for faiss its ``nprobe``, or None
        for an index without lists.
    recall_curve_ : ndarray of shape (n_clusters,) or None
        The recall with 1, 2, … clusters searched; None for exact search and faiss.
    n_rebuilds_ : int
        Number of times that `add` and `remove` rebuilt the clusters or the faiss index.
    mean_list_size_ : float
        Size of a picture's cluster, averaged over the pictures, at the last clustering.

    See Also
    --------
    KMeansModel : Searches few clusters, which can also be inspected.

    Notes
    -----
    The distances are those of `scipy.spatial.distance.cdist` in float64, computed for
    uint8 pictures from exact integer products. Exactly equal distances are ordered by
    key. A constant picture (correlation) or a black one (cosine) is at distance 1
    from everything but an identical one. Identical rows are at distance 0 where SciPy
    divides 0 by 0, and a distance is infinite, at a similarity of 0, only where it
    exceeds the largest float.

    Clusters are computed for the distance given to `fit`: of centered and normalized
    rows for correlation, of normalized rows for cosine, of the rows themselves
    otherwise. Another distance given to `predict` uses the same clusters, with a
    different recall. The distances in the answer are always exact.

    faiss stores its own copy of the rows, in float32 or compressed, and returns a short
    list for each query. Distances are then computed and ordered as in exact search, so
    a "Flat" index gives the answers of exact search. It supports correlation, cosine,
    euclidean and sqeuclidean (the last two share an index), runs on one thread, so that
    answers do not depend on the number of threads, and is saved with a checksum that is
    verified before faiss reads the file. The checksum detects damage, not tampering:
    load files only from people you trust. A graph ("HNSW") does not support removal:
    `remove` rebuilds it.

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
        """Store the rows in the search engine of the algorithm."""
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
                self.search_.gathered(), metric, self.faiss_factory, self.random_state
            )
            self.recall_ = self.search_.tune(target, self.k_candidates, metric)
        elif isinstance(self.search_, ShardedSearch):
            lists = partition_files(
                self.search_.paths, metric, random_state=self.random_state
            )
            self.search_ = self.search_.by_lists(lists, metric)
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
        if self.algorithm_ == "partitioned":
            self.recall_curve_ = self.search_.tune(target, self.k_candidates, metric)
            searched = self.search_.nprobe
            self.recall_ = float(self.recall_curve_[searched - 1])
        self.mean_list_size_ = self.search_.mean_list_size
        self.clusters_searched_ = self.search_.nprobe

    def _fewest_pictures(self):
        return 1

    def _follow(self, rows, kept):
        """Update the search engine to rows: the kept positions, then new rows."""
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
        except ValueError:  # too few rows remain for the faiss index
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
