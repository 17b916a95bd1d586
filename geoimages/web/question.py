"""What a visitor asks: the settings in the address of the page, checked."""

from dataclasses import asdict, dataclass

from ..collection.selection import parse_conditions
from ..pictures.orientation import ORIENTATIONS
from ..search import METRICS

_MODELS = ("pairwise", "kmeans")
_MOST = 200  # matches of one answer
_LONGEST = 500  # characters of a value in the address


@dataclass(frozen=True)
class Question:
    """The settings of one search.

    Parameters
    ----------
    key : str or None
        A picture of the collection; None for one that was sent.
    features, model, metric : str
        What is compared, and how.
    k : int
        Matches.
    color : float or None
        Weight of color against texture.
    orientation : str or None
        Orientations of the candidate to try; by default those of the model.
    where : tuple of str
        Conditions, such as ``hole=BH12``.
    box : tuple of float or None
        Left, top, right and bottom of the part to compare, as shares.
    """

    key: str | None = None
    features: str = "rock"
    model: str = "pairwise"
    metric: str = "correlation"
    k: int = 12
    color: float | None = None
    orientation: str | None = None
    where: tuple = ()
    box: tuple | None = None

    @classmethod
    def of(cls, query, features, default):
        """Read the settings from the address.

        Parameters
        ----------
        query : starlette.datastructures.QueryParams
            The query of the address.
        features : list of str
            Names that may be asked for; never a file that the address names.
        default : str
            The one to use if the address names none.

        Raises
        ------
        ValueError
            If a setting is unknown.
        """
        if any(len(value) > _LONGEST for _, value in query.multi_items()):
            raise ValueError("The address is too long; leave some settings out.")
        box = query.get("box")
        return cls(
            key=query.get("key"),
            features=_one_of(query, "features", features, default),
            model=_one_of(query, "model", _MODELS, "pairwise"),
            metric=_one_of(query, "metric", METRICS, "correlation"),
            k=_number(query, "k", int, 12, 1, _MOST),
            color=_number(query, "color", float, None, 0, 1),
            orientation=_one_of(query, "orientation", ORIENTATIONS, None),
            where=tuple(query.getlist("where")),
            box=_box(box) if box else None,
        )

    @property
    def fitted(self):
        """What a model is fitted with: model, features and color."""
        return self.model, self.features, self.color

    def conditions(self):
        """The conditions as `Collection.where` takes them: dict of lists."""
        return parse_conditions(self.where)

    def as_dict(self):
        """The settings that are not left to their defaults, for a record."""
        default = Question()
        return {
            name: value
            for name, value in asdict(self).items()
            if name in ("features", "model", "metric", "k")
            or value != getattr(default, name)
        }


def _one_of(query, name, known, default):
    value = query.get(name) or default
    if value is not None and value not in known:
        raise ValueError(f"{name}={value} is not one of {', '.join(known)}.")
    return value


def _number(query, name, kind, default, low, high):
    text = query.get(name)
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ValueError(f"{name}={text} is not a number from {low} to {high}.")
    return value


def _box(text):
    try:
        left, top, right, bottom = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"box={text} is not left,top,right,bottom.") from None
    return left, top, right, bottom
