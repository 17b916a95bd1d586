"""Holes kept apart: splits of tiles of core, and scores per centimeter."""

import numpy as np
from sklearn.metrics import f1_score
from sklearn.utils import check_random_state

from ..collection.lineage import tile_boxes
from .logs import Cumulated

_CENTIMETER = 0.01  # meters
_DRAWS = 100  # of holes to hold out
WHY = (
    "neighboring tiles share rock and pixels, and a split within a hole flatters every "
    "score (published accuracies of 99 % come from it; with wells kept apart it is 69 %, "
    "Martin 2021)"
)


def holes_of(collection):
    """The hole of each tile of core: (n,) str, or None for other collections."""
    keys = collection.keys
    if "@" not in str(keys[0]) or tile_boxes(keys) is None:
        return None
    table = collection.table
    if not {"hole", "depth_from", "depth_to"} <= set(table.columns):
        return None
    if not table["depth_from"].notna().any():
        return None
    return table["hole"].astype(str).to_numpy()


def check_apart(holes, train, test):
    """Refuse a split that puts tiles of one hole on both sides.

    Raises
    ------
    ValueError
        If it does.
    """
    both = np.intersect1d(holes[train], holes[test])
    if len(both):
        raise ValueError(
            f"The split puts tiles of {_told(both)} on both sides; {WHY}. Keep holes "
            "apart, as training without a split does."
        )


def hold_out_holes(holes, labels, labeled, share, random_state=0):
    """Hold out whole holes: positions of train and test.

    At least one hole, about `share` of them; if possible so that every class is left to
    learn from.

    Raises
    ------
    ValueError
        If there is one hole only.
    """
    names = np.unique(holes[labeled])
    if len(names) < 2:
        raise ValueError(
            f"All labeled tiles are of hole {names[0]}; {WHY}. Add the core of another "
            "hole, which is held out."
        )
    n_test = min(len(names) - 1, max(1, round(share * len(names))))
    rng = check_random_state(random_state)
    draws = [rng.choice(names, n_test, replace=False) for _ in range(_DRAWS)]

    def n_lost(draw):
        train = labeled[~np.isin(holes[labeled], draw)]
        return len(np.unique(labels[labeled])) - len(np.unique(labels[train]))

    chosen = min(draws, key=n_lost)
    inside = np.isin(holes[labeled], chosen)
    return labeled[~inside], labeled[inside]


def _told(names):
    """Name some holes: ``hole BH1``, ``holes BH1, BH2 and 3 more``."""
    names = list(map(str, names))
    rest = len(names) - 5
    more = f" and {rest} more" if rest > 0 else ""
    return f"hole{'s' * (len(names) > 1)} {', '.join(names[:5])}{more}"


def score_per_centimeter(table, y, proba, classes):
    """Score classes down the hole, a centimeter at a time.

    Parameters
    ----------
    table : DataFrame
        Rows of the tiles, with ``hole``, ``depth_from`` and ``depth_to``.
    y : ndarray of shape (n,)
        Their labels.
    proba : ndarray of shape (n, n_classes)
        Predicted probabilities, of which each centimeter takes the mean of the tiles
        that show it.
    classes : ndarray of shape (n_classes,)
        Of the columns of `proba`.

    Returns
    -------
    scores : dict
        ``macro_f1`` (the mean over classes that occur or are told), ``accuracy``,
        ``centimeters`` and ``holes``. The true class of a centimeter is that of most
        tiles that show it.
    """
    known = np.unique(y)
    told, true = [], []
    holes = table["hole"].astype(str).to_numpy()
    for hole in np.unique(holes):
        here = (holes == hole) & table["depth_from"].notna().to_numpy()
        if not here.any():
            continue
        starts, stops = (
            table.loc[here, name].to_numpy(float) for name in ("depth_from", "depth_to")
        )
        first, last = np.floor(100 * starts.min()), np.ceil(100 * stops.max())
        edges = np.arange(first, last + 1) * _CENTIMETER
        ones = (y[here][:, None] == known).astype(float)
        sums = Cumulated(starts, stops, np.hstack([ones, proba[here]]))
        values = np.diff(sums.up_to(edges), axis=0)
        values = values[values[:, : len(known)].sum(axis=1) > 1e-9]
        true.append(known[values[:, : len(known)].argmax(axis=1)])
        told.append(np.asarray(classes)[values[:, len(known) :].argmax(axis=1)])
    true, told = np.concatenate(true), np.concatenate(told)
    return {
        "macro_f1": float(f1_score(true, told, average="macro", zero_division=0)),
        "accuracy": float((true == told).mean()),
        "centimeters": len(true),
        "holes": np.unique(holes).tolist(),
    }
