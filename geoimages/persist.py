"""Save and load models without pickle."""

import json
import zipfile
from importlib.metadata import version
from pathlib import Path

import skops.io
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .files import atomic_path

_FORMAT = "geoimages.model"
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
"""Types that a model file may contain besides those that skops trusts."""


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
        "geoimages": version("geoimages"),
        "scikit-learn": version("scikit-learn"),
        "class": type(model).__name__,
        "classes": [str(name) for name in getattr(model, "classes_", [])],
        "image_shape": list(getattr(model, "image_shape_", [])),
        "test_keys": list(test_keys or []),
        "scores": {name: float(value) for name, value in (scores or {}).items()},
    }
    with atomic_path(path) as temporary:
        skops.io.dump(model, temporary, compression=zipfile.ZIP_DEFLATED)
        strangers = _strangers(temporary)
        if strangers:
            raise TypeError(
                f"{type(model).__name__} holds {', '.join(strangers)}, which load does "
                "not trust; use transformers of geoimages and scikit-learn."
            )
        with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_ABOUT, json.dumps(about, indent=2))


def _strangers(path):
    """Types in a file that are not trusted."""
    return sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))


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
        types, which are named; no code from it is run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No model at {path}; create one with 'geoimages train rocks.h5 -o "
            f"{path.name}'."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            about = json.loads(archive.read(_ABOUT))
        if damaged or about.get("format") != _FORMAT:
            raise ValueError(damaged or "another format")
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a whole model of geoimages ({error})."
        ) from None
    strangers = _strangers(path)
    if strangers:
        raise ValueError(
            f"{path} holds types that are not trusted: {', '.join(strangers)}. Nothing "
            "of it was loaded."
        )
    model = skops.io.load(path, trusted=list(TRUSTED))
    model.about_ = about
    return model
