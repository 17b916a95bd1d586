"""Models and features by name, for the command line and the comparison."""

from pathlib import Path

import geoimages as gi

FEATURES = ("pixels", "color", "texture", "rock", "pattern", "rock+network")
NETWORK = "efficientnet-lite0"
FEATURE_FILES = {
    ".skops": "a saved model (model.skops)",
    ".onnx": "a network (net.onnx)",
}
MODELS = ("pairwise", "kmeans")
ORIENTATIONS = ("fixed", "rotations", "any")


def check_features(name, names=FEATURES, files=tuple(FEATURE_FILES)):
    """Return a valid feature name or path of a features file unchanged.

    Raises
    ------
    ValueError
        If it is neither one of the names nor ends like one of the files.
    """
    if name not in names and Path(name).suffix.lower() not in files:
        expected = " or ".join(FEATURE_FILES[suffix] for suffix in files)
        raise ValueError(
            f"Unknown features {name!r}; expected one of {', '.join(names)}, or "
            f"{expected}."
        )
    return name


def _saved_features(path):
    """Return the fitted features of a saved model."""
    from .saved import SavedFeatures

    model = gi.load(path)
    if not hasattr(model, "transform"):
        model = getattr(model, "features_", model)
    if not hasattr(model, "transform"):
        raise ValueError(
            f"{path} holds a {type(model).__name__} that compares pixels; use "
            "'pixels', or a model with features."
        )
    return SavedFeatures(model, path)


def make_features(name="pixels", color=None, preset=None):
    """Return the features with a given name.

    Parameters
    ----------
    name : str
        "pixels", "color", "texture", "rock", "pattern" or "rock+network"; or the path of
        a model that `geoimages.save` wrote (.skops), or of a network (.onnx). "color"
        and "texture" are the blocks of "rock" that describe them: the same as a share
        of 1 or 0. "rock+network" adds EfficientNet-lite0 (the extra [network]).
    color : float, optional
        Weight of color against texture, 0 to 1, in "rock", "rock+network" and
        "pattern"; 0.5 is their default. With it "pixels" means "rock".
    preset : str, optional
        Input format of a network, see `PretrainedFeatures`.

    Returns
    -------
    features : transformer or None

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the name is unknown, or the weight is out of range or not applicable.

    Examples
    --------
    >>> make_features("rock", color=0.2)
    RockFeatures(color=0.4, conv=1.12, texture=1.6, tone=0.4)
    >>> make_features("texture")
    RockFeatures(color=0, tone=0)
    >>> make_features("rock+network")
    RockFeatures(network='efficientnet-lite0')
    """
    suffix = Path(check_features(name)).suffix.lower()
    if preset is not None and suffix != ".onnx":
        raise ValueError(
            f"preset={preset!r} is the input format of a network, but {name!r} is not "
            "one; leave it out, or give a file net.onnx."
        )
    weights = {}
    if color is not None:
        if not 0 <= color <= 1:
            raise ValueError(
                f"color={color} must be 0 (texture only) to 1 (color only)."
            )
        name = "rock" if name == "pixels" else name
        if name not in ("rock", "rock+network", "pattern"):
            raise ValueError(
                f"color={color} weighs color against texture, but {name!r} is one of "
                "them; use 'rock' or 'pattern'."
            )
        color, texture = 2 * color, 2 * (1 - color)
        weights = {"color": color, "tone": color, "texture": texture}
        if name.startswith("rock"):
            weights["conv"] = round(0.7 * texture, 6)
    if name == "pixels":
        return None
    if suffix == ".onnx":
        return gi.PretrainedFeatures(name, preset=preset)
    if suffix == ".skops":
        return _saved_features(name)
    if name == "pattern":
        return gi.PatternFeatures(**weights)
    if name == "color":
        weights = {"texture": 0, "conv": 0}
    elif name == "texture":
        weights = {"color": 0, "tone": 0}
    elif name == "rock+network":
        weights["network"] = NETWORK
    return gi.RockFeatures(**weights)


def model_name(text):
    """Split the name of a model and return its full name.

    Parameters
    ----------
    text : str
        A model ("pairwise" or "kmeans"), features ("rock"), or both ("kmeans:rock").
        Without a model it is "pairwise", without features they are "pixels".

    Returns
    -------
    model, features : str
        As `make_model` takes them.
    name : str
        For example "kmeans:rock".

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> model_name("kmeans")
    ('kmeans', 'pixels', 'kmeans:pixels')
    >>> model_name("rock")[2], model_name("kmeans-rock")[2]
    ('pairwise:rock', 'kmeans:rock')
    """
    model, features = "pairwise", text
    for kind in MODELS:
        if text == kind or text.startswith((f"{kind}:", f"{kind}-")):
            model, features = kind, text[len(kind) + 1 :] or "pixels"
    try:
        check_features(features)
    except ValueError:
        raise ValueError(
            f"Unknown model {text!r}; expected one of {', '.join(MODELS)}, one of "
            f"{', '.join(FEATURES)} or a file (model.skops, net.onnx), or both, such as "
            "kmeans:rock."
        ) from None
    return model, features, f"{model}:{Path(features).name}"


def make_model(model, features="pixels", color=None, preset=None, **options):
    """Return an unfitted similarity model.

    Parameters
    ----------
    model : {"pairwise", "kmeans"}
        The kind of model.
    features, color, preset
        As in `make_features`.
    **options
        Parameters of the model. "pattern" allows any orientation unless stated.

    Returns
    -------
    model : PairwiseModel or KMeansModel

    Examples
    --------
    >>> make_model("kmeans", "rock", num_clusters=5)
    KMeansModel(features=RockFeatures(), num_clusters=5)
    """
    if features == "pattern":
        options = {"orientation": "any"} | options
    kind = gi.KMeansModel if model == "kmeans" else gi.PairwiseModel
    return kind(features=make_features(features, color, preset), **options)
