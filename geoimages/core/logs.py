"""Logs down a hole: similarity to a picture, or classes, and coverage of intervals."""

import math

import numpy as np
import pandas as pd

from ..distance import PairwiseModel
from ..features import RockFeatures
from ..files import progress
from ..pictures.resizing import resize_image
from ..pictures.scaling import on_white
from ..pictures.validation import check_picture
from ..search import similarity_from_distance
from .depth import read_intervals
from .tiling import check_core

_MOST_STEPS = 1_000_000
_BATCH = 1024  # tiles classified at once
_WINDOWS = 3  # of a candidate, along each side


def _steps(starts, stops, step):
    """Edges of the steps that cover a hole, multiples of the step: (n + 1,)."""
    first = np.floor(starts.min() / step + 1e-6)
    last = np.ceil(stops.max() / step - 1e-6)
    if last - first > _MOST_STEPS:
        raise ValueError(
            f"Steps of {step:g} m would be {last - first:,.0f} for one hole; give a "
            "larger step."
        )
    return step * np.arange(first, last + 1)


class Cumulated:
    """Integrals of values that are spread over intervals, up to any depth."""

    def __init__(self, starts, stops, values):
        density = values / (stops - starts)[:, None]
        at = np.concatenate([starts, stops])
        order = np.argsort(at, kind="stable")
        self.at = at[order]
        slopes = np.concatenate([density, -density])[order].cumsum(axis=0)
        steps = np.diff(self.at)[:, None] * slopes[:-1]
        self.total = np.pad(steps.cumsum(axis=0), ((1, 0), (0, 0)))

    def up_to(self, depth):
        """The integral from the top to depths: (m,) -> (m, n_values)."""
        return np.stack(
            [np.interp(depth, self.at, column) for column in self.total.T], axis=1
        )


def _area(part, edges):
    """Share of the core's face in each step that tiles show as rock: (n,)."""
    starts, stops = part["depth_from"].to_numpy(), part["depth_to"].to_numpy()
    low = (part["strip_y"] - part["strip_top"]) / part["row_height"]
    high = low + part["strip_side"] / part["row_height"]
    bins = np.linspace(0, 1, 17)
    across = (low.to_numpy()[:, None] < bins[1:] - 1e-9) & (
        high.to_numpy()[:, None] > bins[:-1] + 1e-9
    )
    # Parts of a step, a quarter of the shortest tile or less.
    n = max(1, math.ceil(4 * (edges[1] - edges[0]) / (stops - starts).min()))
    edges = np.linspace(edges[0], edges[-1], n * (len(edges) - 1) + 1)
    first = np.searchsorted(edges, starts, side="right") - 1
    last = np.searchsorted(edges, stops, side="left")
    area = np.zeros((len(edges) - 1, len(bins) - 1))
    rock = part["rock"].to_numpy()
    for i in range(len(part)):
        # How much of each step the tile covers; of the tiles at a place the best counts.
        here = slice(max(0, first[i]), min(last[i], len(area)))
        ends = edges[here.start : here.stop + 1]
        cover = np.minimum(ends[1:], stops[i]) - np.maximum(ends[:-1], starts[i])
        cover = np.clip(cover / np.diff(ends), 0, 1) * rock[i]
        area[here] = np.maximum(area[here], cover[:, None] * across[i])
    return area.mean(axis=1).reshape(-1, n).mean(axis=1)


def _similarity(tiles, positions, picture, model):
    """Similarity of tiles to a picture, the best of its parts: (n, 1)."""
    side = tiles.image_shape[0]
    picture = check_picture(picture)
    picture = on_white(picture) if picture.shape[2] == 4 else picture
    size = min(side, *picture.shape[:2])
    tops, lefts = (
        np.unique(np.linspace(0, length - size, _WINDOWS).round().astype(int))
        for length in picture.shape[:2]
    )
    parts = [
        resize_image(picture[y : y + size, x : x + size], (side, side))
        for y in tops
        for x in lefts
    ]
    if model is None:
        model = PairwiseModel(features=RockFeatures(), orientation="any")
    if tiles.image_shape[2] == 4:
        parts = [np.dstack([p, np.full((side, side), 255, np.uint8)]) for p in parts]
    model = model.set_params(image_shape=tiles.image_shape, rerank=None).fit(tiles)
    best = np.full(len(tiles), -np.inf)
    for part in parts:
        distance, found = model.kneighbors(part[None], n_neighbors=len(tiles))
        near = similarity_from_distance(distance[0], model.dist_metric)
        best[found[0]] = np.maximum(best[found[0]], near)
    return best[positions, None]


def _probabilities(tiles, positions, model):
    """Probabilities of the classes of tiles: (n, n_classes)."""
    if tuple(model.image_shape_) != tuple(tiles.image_shape):
        shapes = [
            " × ".join(map(str, s)) for s in (tiles.image_shape, model.image_shape_)
        ]
        raise ValueError(
            f"{tiles.path.name} holds tiles of {shapes[0]}, the model was trained on "
            f"{shapes[1]}; cut tiles of that size."
        )
    parts = [
        model.predict_proba(tiles[positions[start : start + _BATCH]])
        for start in progress(
            range(0, len(positions), _BATCH), desc="classifying", unit="batch"
        )
    ]
    return np.concatenate(parts)


def log_core(tiles, like=None, *, model=None, window=0.1, step=None, where=None):
    """Log down each hole how similar the core is to a picture, or what class it is.

    Parameters
    ----------
    tiles : Collection
        Made by `tile_core`, with depths.
    like : ndarray of shape (height, width, 3), uint8, optional
        The log is the similarity to this picture, taken at the resolution of the
        photographs: of each tile the best of up to nine parts of the picture.
    model : PairwiseModel, KMeansModel or classifier, optional
        Without `like` a fitted classifier, whose probabilities are logged. With it, a
        similarity model, which is fitted here; by default `RockFeatures`, compared in
        any orientation.
    window : float, default=0.1
        Values are averaged over this length, in meters: each tile counts as much as it
        lies in the window and is rock.
    step : float, optional
        Length of an interval of the log, in meters, by default half of `window`.
    where : dict, optional
        Columns of the tiles' table and required values; only these tiles are used.

    Returns
    -------
    log : DataFrame
        ``hole``, ``from``, ``to`` (meters), and either ``similarity`` or ``class``,
        ``probability`` (of that class) and one column ``p_<class>`` for each;
        ``area``: the share of the core's face that was used. Depths without a tile
        have no row. ``log.attrs["window"]`` is the window.

    Raises
    ------
    ValueError
        If the tiles know no depth, neither or both ways are asked for, or a length is
        out of range.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import log_core, read_image, tile_core, write_core
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = write_core(folder, 1, 1, n_rows=3, row_shape=(70, 500), random_state=0)
    >>> tiles = tile_core(folder / "t.h5", folder, size=48, scales=1)
    >>> log = log_core(tiles, like=tiles[0], window=0.2)
    >>> log.columns.tolist()
    ['hole', 'from', 'to', 'similarity', 'area']
    """
    step = window / 2 if step is None else step
    for name, value in (("window", window), ("step", step)):
        if not 0.001 <= value <= 1000:
            raise ValueError(f"{name}={value} must be meters, 0.001 to 1,000.")
    if like is None and not hasattr(model, "predict_proba"):
        raise ValueError("Give a picture (like), or a classifier (model).")
    table = check_core(tiles)
    known = table["depth_from"].notna().to_numpy()
    if where:
        chosen = np.zeros(len(table), bool)
        chosen[tiles.where(**where)] = True
        known = known & chosen
    positions = np.flatnonzero(known)
    if not len(positions):
        raise ValueError(f"No tile of {tiles.path.name} is of those holes and depths.")
    if like is None:
        values = _probabilities(tiles, positions, model)
        names = [f"p_{label}" for label in model.classes_]
    else:
        values, names = _similarity(tiles, positions, like, model), ["similarity"]
    table = table.iloc[positions]
    parts = []
    for hole in sorted(table["hole"].unique()):
        here = (table["hole"] == hole).to_numpy()
        part = table[here]
        starts, stops = part["depth_from"].to_numpy(), part["depth_to"].to_numpy()
        edges = _steps(starts, stops, step)
        middle = (edges[1:] + edges[:-1]) / 2
        rock = part["rock"].to_numpy()[:, None]
        sums = Cumulated(starts, stops, np.hstack([rock * values[here], rock]))
        total = sums.up_to(middle + window / 2) - sums.up_to(middle - window / 2)
        area = _area(part, edges)
        shown = (total[:, -1] > 1e-9) & (area > 0)
        means = total[shown, :-1] / total[shown, -1:]
        log = pd.DataFrame(means, columns=names)
        log.insert(0, "hole", hole)
        log.insert(1, "from", edges[:-1][shown].round(4))
        log.insert(2, "to", edges[1:][shown].round(4))
        log["area"] = area[shown].round(4)
        parts.append(log)
    log = pd.concat(parts, ignore_index=True)
    if like is None:
        proba = log[names].to_numpy()
        log.insert(3, "class", np.asarray(model.classes_)[proba.argmax(axis=1)])
        log.insert(4, "probability", proba.max(axis=1))
    log.attrs["window"] = float(window)
    return log


def coverage(log, intervals):
    """Sum up a log over intervals of depth: shares of classes, or mean similarity.

    Parameters
    ----------
    log : DataFrame
        Of `log_core`.
    intervals : DataFrame or path of a CSV
        Columns ``from`` and ``to`` in meters, and ``hole`` where they are not of every
        hole; other columns are kept.

    Returns
    -------
    table : DataFrame
        ``hole``, ``from``, ``to``; ``logged``, the share of the interval that the log
        covers; ``area``, the share of its core's face that was used; of a log of
        classes ``share_<class>`` (of the logged length; they add up to 1) and
        ``probability``, the mean one of the classes told; of a log of similarity
        ``similarity`` (mean) and ``highest``. NaN where nothing is logged.

    Raises
    ------
    ValueError
        If the intervals cannot be used, or `log` is not a log.
    """
    lacks = [name for name in ("hole", "from", "to", "area") if name not in log.columns]
    if lacks:
        raise ValueError(
            f"The log lacks the columns {', '.join(lacks)}; give what log_core returns."
        )
    table = read_intervals(intervals)
    classes = [name[2:] for name in log.columns if name.startswith("p_")]
    rows = []
    for _, line in table.iterrows():
        holes = [line["hole"]] if line.get("hole") else sorted(log["hole"].unique())
        for hole in holes:
            part = log[log["hole"] == hole]
            start, stop = float(line["from"]), float(line["to"])
            length = (
                part["to"].clip(upper=stop) - part["from"].clip(lower=start)
            ).clip(lower=0)
            part, length = part[length > 1e-9], length[length > 1e-9].to_numpy()
            kept = line.drop(["from", "to", "hole"], errors="ignore").to_dict()
            row = {"hole": hole, "from": start, "to": stop} | kept
            row["logged"] = length.sum() / (stop - start)
            row["area"] = (length * part["area"]).sum() / (stop - start)
            weight = length / length.sum() if len(length) else length
            if classes:
                for label in classes:
                    share = weight[
                        (part["class"].astype(str) == label).to_numpy()
                    ].sum()
                    row[f"share_{label}"] = share if len(part) else np.nan
                mean = (weight * part["probability"]).sum()
                row["probability"] = mean if len(part) else np.nan
            else:
                mean = (weight * part["similarity"]).sum()
                row["similarity"] = mean if len(part) else np.nan
                row["highest"] = part["similarity"].max()
            rows.append(row)
    return pd.DataFrame(rows).round(4)
