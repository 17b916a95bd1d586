"""Save and load models without pickle."""

import json
import math
import re
import zipfile
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .files import NewerVersionError, atomic_path, check_version
from .neural.classifier import ConvNetClassifier
from .search.stored import Stored
from .similarity.base import SimilarityModel

_FORMAT, _VERSION = "geoimages.model", 1
_ABOUT = "geoimages.json"
TRUSTED = (
    "geoimages.pictures.augmentation.Augmentation",
    "geoimages.cluster.KMeansModel",
    "geoimages.distance.PairwiseModel",
    "geoimages.neural.triplets.TripletEmbedding",
    "geoimages.features.blocks.ColorFeatures",
    "geoimages.features.blocks.HOGFeatures",
    "geoimages.features.blocks.TextureFeatures",
    "geoimages.features.convolution.ConvFeatures",
    "geoimages.features.fisher.FisherFeatures",
    "geoimages.features.pattern.PatternFeatures",
    "geoimages.features.pretrained.PretrainedFeatures",
    "geoimages.features.rock.RockFeatures",
    "geoimages.neural.classifier.ConvNetClassifier",
    "geoimages.neural.embedding.MLPEmbedding",
    "geoimages.search.exact.ExactSearch",
    "geoimages.search.ivf.InvertedFile",
    "geoimages.search.faiss_index.FaissSearch",
)
"""Types of this package that a model file may hold."""

_SKLEARN = (
    "sklearn.decomposition._pca.PCA",
    "sklearn.decomposition._truncated_svd.TruncatedSVD",
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
    "sklearn.dummy.DummyClassifier",
    "sklearn.frozen._frozen.FrozenEstimator",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.pipeline.FeatureUnion",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.MaxAbsScaler",
    "sklearn.preprocessing._data.MinMaxScaler",
    "sklearn.preprocessing._data.Normalizer",
    "sklearn.preprocessing._data.RobustScaler",
    "sklearn.preprocessing._data.StandardScaler",
)
# Those of scikit-learn, which compute by NumPy alone: what is compiled (trees,
# neighbors, vector machines, k-means) trusts the shapes and indices of its state.

_SCALARS = r"bool_?|u?int(8|16|32|64)|float(16|32|64)|str_"
# How skops rebuilds an object, and of which types it may be. Its other ways (functions,
# methods, generators, sparse and object arrays, …) are not needed.
_NODES = {
    "DictNode": r"builtins\.dict",
    "JsonNode": r"builtins\.str",
    "ListNode": r"builtins\.list",
    "NdArrayNode": rf"numpy\.(ndarray|{_SCALARS})",
    "ObjectNode": "|".join(map(re.escape, TRUSTED + _SKLEARN)),
    "TupleNode": r"builtins\.tuple",
    "TypeNode": rf"builtins\.(str|int|float|bool)|numpy\.({_SCALARS})",
}
_SCHEMA = "schema.json"
_MOST_UNPACKED = 1 << 29  # bytes, and so many more for each byte of the file
_MOST_PACKED = 64
_MOST_JSON = 1 << 25  # bytes, which Python's objects take tenfold
# What reading a damaged or forged file may raise.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)


def save(model, path, scores=None, test_keys=None):
    """Write a fitted model to a file that holds data only, no code.

    Parameters
    ----------
    model : estimator
        A fitted model or transformer of this package, or a scikit-learn pipeline of
        these.
    path : str or path-like
        The file, usually ``.skops``. It is written atomically.
    scores : dict of str to float, optional
        Scores of the model on its test pictures; `load` returns them.
    test_keys : list of str, optional
        Keys of those pictures.

    Raises
    ------
    TypeError
        If the model contains types that `load` would not trust.
    NotFittedError
        If it is not fitted.

    See Also
    --------
    load : Read it again.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import PairwiseModel, load, make_rocks, save
    >>> images, _ = make_rocks(12, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.skops"
    >>> save(PairwiseModel().fit(images), path)
    >>> load(path).predict(images[3], k_candidates=1).index.tolist()
    [3]
    """
    if not isinstance(model, BaseEstimator):
        raise TypeError(
            f"save needs a fitted estimator, got {type(model).__name__}; a Collection "
            "is already a file."
        )
    check_is_fitted(model)
    about = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "geoimages": version("geoimages"),
        "scikit-learn": version("scikit-learn"),
        "class": type(model).__name__,
        "classes": [str(name) for name in getattr(model, "classes_", [])],
        "image_shape": list(getattr(model, "image_shape_", [])),
        "test_keys": list(test_keys or []),
        "scores": {name: float(value) for name, value in (scores or {}).items()},
    }
    import skops.io  # which imports all of scikit-learn

    with atomic_path(path) as temporary:
        skops.io.dump(model, temporary, compression=zipfile.ZIP_DEFLATED)
        with zipfile.ZipFile(temporary) as archive:
            strangers = _strangers(archive)
            if strangers:
                raise TypeError(
                    f"{type(model).__name__} holds {', '.join(strangers)}, which load "
                    "does not trust; use transformers of geoimages, or linear ones of "
                    "scikit-learn."
                )
            _check_sizes(archive, temporary.stat().st_size)
            _check_arrays(archive)
        with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_ABOUT, json.dumps(about, indent=2))


def _nodes(schema):
    """Every description of an object in a schema of skops."""
    todo = [schema]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            if "__loader__" in part:
                yield part
            todo += part.values()
        elif isinstance(part, list):
            todo += part


def _strangers(archive):
    """What a file holds that is not trusted: names of types."""
    strangers = set()
    for node in _nodes(json.loads(archive.read(_SCHEMA))):
        name = f"{node.get('__module__')}.{node.get('__class__')}"
        known = _NODES.get(node["__loader__"])
        if known is None or not re.fullmatch(known, name):
            strangers.add(name)
        elif node["__loader__"] == "NdArrayNode" and node.get("type") != "numpy":
            strangers.add(f"{name} of objects")
    return sorted(strangers)


def _check_sizes(archive, n_bytes):
    """Raise a ValueError unless a file of so many bytes unpacks to a sensible size."""
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    most = _MOST_UNPACKED + _MOST_PACKED * n_bytes
    if sum(sizes.values()) > most or len(sizes) < len(archive.infolist()):
        raise ValueError(
            f"{sum(sizes.values()):,} bytes unpacked, at most {most:,} in such a file"
        )
    for name in (_SCHEMA, _ABOUT):
        if sizes.get(name, 0) > _MOST_JSON:
            raise ValueError(f"{name} of {sizes[name]:,} bytes")


def _check_arrays(archive):
    """Raise a ValueError unless each array is plain numbers or text, and whole."""
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            if member.filename not in (_SCHEMA, _ABOUT):
                raise ValueError(f"{member.filename!r} has no place in it")
            continue
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read(file)
            size = member.file_size - file.tell()
        if dtype.kind not in "biufUS" or dtype.itemsize * math.prod(shape) != size:
            raise ValueError(f"an array of the shape {shape} and dtype {dtype}")


def _check_state(value, seen=None):
    """Raise a ValueError where a loaded object holds what no fitted one does.

    All arrays are finite. An engine has checked its own when skops handed it its state;
    here a model is held against its engine.
    """
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError("values that are not finite")
    elif isinstance(value, dict):
        for part in value.values():
            _check_state(part, seen)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_state(part, seen)
    elif type(value).__module__.startswith(("geoimages.", "sklearn.")):
        if isinstance(value, SimilarityModel):
            _check_similarity(value)
        engine = isinstance(value, Stored)
        _check_state(value.arrays()[1] if engine else vars(value), seen)


def _complete(model):
    """Give a model saved before there were versions what `fit` has set since."""
    todo = [model]
    while todo:
        part = todo.pop()
        if isinstance(part, BaseEstimator):
            if hasattr(part, "image_shape_") and not hasattr(part, "fitted_in_scale_"):
                part.fitted_in_scale_ = True
            todo += vars(part).values()
        elif isinstance(part, list | tuple):
            todo += part


def _check_similarity(model):
    """Raise a ValueError unless a model's engine, keys and pictures fit together."""
    n, shape = len(model.keys_), model.image_shape_
    rows = model.search_.rows
    per_row = [model.y_, model.pictures_, model.thumbnails_, model.lineage_]
    per_row.append(model.boxes_)
    whole = isinstance(shape, tuple) and all(
        isinstance(side, int | np.integer) and side > 0 for side in shape
    )
    if (
        not isinstance(model.search_, Stored)
        or model.keys_.shape != (n,)
        or len(np.unique(model.keys_)) != n
        or rows.shape[0] != n
        or not whole
        or math.prod(shape) != model.n_features_in_
        or any(part is not None and len(part) != n for part in per_row)
        or (model.boxes_ is not None and model.boxes_.shape != (n, 3))
        or not np.array_equal(np.sort(model.search_rank_), np.arange(n))
    ):
        raise ValueError("rows, keys and pictures of different models")


def load(path):
    """Read a model written by `save`.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    model : estimator
        The model. Its attribute ``about_`` is a dict of the class, the classes, the
        picture shape, the versions it was saved with, its test ``scores`` and
        ``test_keys``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a model of this package, is damaged, or contains untrusted
        types, which are named; no code from it is run. Trusted are the types of this
        package and those of scikit-learn that compute by NumPy alone.
    """
    import skops.io  # which imports all of scikit-learn

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No model at {path}; create one with 'geoimages train rocks.h5 -o "
            f"{path.name}'."
        )
    strangers = []
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path.stat().st_size)
            damaged = archive.testzip()
            about = json.loads(archive.read(_ABOUT))
            if damaged or about.get("format") != _FORMAT:
                raise ValueError(damaged or "another format")
            check_version(path, about.get("format_version", 0), _VERSION)
            strangers = _strangers(archive)
            _check_arrays(archive)
        if not strangers:
            model = skops.io.load(path, trusted=list(TRUSTED))
            if "format_version" not in about:
                _complete(model)
            _check_state(model)
            check_is_fitted(model)
    except NewerVersionError:
        raise
    except _DAMAGE as error:
        raise ValueError(
            f"{path} is not a valid model of geoimages ({error or type(error).__name__})."
        ) from None
    if strangers:
        raise ValueError(
            f"{path} holds types that are not trusted: {', '.join(strangers)}. Nothing "
            "of it was loaded."
        )
    if isinstance(model, ConvNetClassifier) and not hasattr(model, "weights_"):
        raise ValueError(
            f"{path} was trained by an earlier geoimages, whose classifier pooled its "
            "answers otherwise; train it again with 'geoimages train'."
        )
    model.about_ = about
    return model
