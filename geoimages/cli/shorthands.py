"""Models and features by name, for the command line and the comparison."""

import geoimages as gi

FEATURES = ("pixels", "color", "texture", "rock", "pattern")
MODELS = ("pairwise", "kmeans")
ORIENTATIONS = ("fixed", "rotations", "any")


def make_features(name="pixels", color=None):
    """Return the features of a name.

    Parameters
    ----------
    name : {"pixels", "color", "texture", "rock", "pattern"}
        What to compare.
    color : float, optional
        Share of color against texture, 0 to 1, in "rock" and "pattern"; 0.5 is their
        default. "pixels" become "rock" by it.

    Returns
    -------
    features : transformer or None

    Raises
    ------
    ValueError
        If the name is unknown, the share is out of range, or the features have none.

    Examples
    --------
    >>> make_features("rock", color=0.2)
    RockFeatures(color=0.4, conv=1.12, texture=1.6, tone=0.4)
    """
    if name not in FEATURES:
        raise ValueError(
            f"{name!r} names no features; expected one of {', '.join(FEATURES)}."
        )
    weights = {}
    if color is not None:
        if not 0 <= color <= 1:
            raise ValueError(
                f"color={color} must be 0 (texture only) to 1 (color only)."
            )
        name = "rock" if name == "pixels" else name
        if name not in ("rock", "pattern"):
            raise ValueError(
                f"color={color} weighs color against texture, but {name!r} is one of "
                "them; use 'rock' or 'pattern'."
            )
        paint, texture = 2 * color, 2 * (1 - color)
        weights = {"color": paint, "tone": paint, "texture": texture}
        if name == "rock":
            weights["conv"] = round(0.7 * texture, 6)
    if name == "pixels":
        return None
    classes = {
        "color": gi.ColorFeatures,
        "texture": gi.TextureFeatures,
        "rock": gi.RockFeatures,
        "pattern": gi.PatternFeatures,
    }
    return classes[name](**weights)


def make_model(name, color=None, **options):
    """Return the unfitted similarity model of a name.

    Parameters
    ----------
    name : str
        A model ("pairwise" or "kmeans"), features ("rock"), or both ("kmeans-rock").
        Without a model it is "pairwise", without features they are "pixels".
    color : float, optional
        As in `make_features`.
    **options
        Parameters of the model. "pattern" turns candidates any way unless told.

    Returns
    -------
    model : PairwiseModel or KMeansModel

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> make_model("kmeans-rock", num_clusters=5)
    KMeansModel(features=RockFeatures(), num_clusters=5)
    """
    model, _, features = name.partition("-")
    if model not in MODELS:
        model, features = "pairwise", name
    if features and features not in FEATURES:
        raise ValueError(
            f"{name!r} names no model; expected one of {', '.join(MODELS)}, one of "
            f"{', '.join(FEATURES)}, or both, such as kmeans-rock."
        )
    if features == "pattern":
        options = {"orientation": "any"} | options
    kind = gi.KMeansModel if model == "kmeans" else gi.PairwiseModel
    return kind(features=make_features(features or "pixels", color), **options)
