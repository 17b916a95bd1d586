"""Depth of core: from file names or a table, and where boxes overlap or leave gaps."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..collection.tables import read_table
from ..pictures.perspective import straight_size

_NUMBER = r"\d+(?:\.\d+)?"
_NAME = re.compile(rf"(.+)_([^_]+)_({_NUMBER})m?_({_NUMBER})m?", re.DOTALL)
_NAMED = ("photo", "file", "filename", "path")
_DEEPEST = 20_000.0  # meters
_TOLERANCE = 0.005  # meters: what is neither an overlap nor a gap


class Depth(NamedTuple):
    """Hole, box and interval (meters) of a photograph, or of each of its rows."""

    hole: str
    box: str
    starts: np.ndarray
    stops: np.ndarray


def depth_of_name(name):
    """Hole, box, from and to of ``HOLE_BOX_FROM_TO``, in meters, or None.

    Examples
    --------
    >>> depth_of_name("BH12_3_10.5_14.5")
    ('BH12', '3', 10.5, 14.5)
    >>> depth_of_name("outcrop_7") is None
    True
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return match[1], match[2], float(match[3]), float(match[4])


def _check(where, start, stop):
    if (
        not np.isfinite([start, stop]).all()
        or abs(start) > _DEEPEST
        or abs(stop) > _DEEPEST
    ):
        raise ValueError(
            f"{where} has no depth from {start} to {stop}; give meters, as numbers."
        )
    if start >= stop:
        raise ValueError(
            f"{where} runs backward, from {start:g} to {stop:g} m; depths are meters "
            "down the hole, the smaller first."
        )


def read_depths(depths):
    """Read a table of depths: {photograph: DataFrame with hole, from, to, box, row}.

    Parameters
    ----------
    depths : DataFrame or path of a CSV
        Columns ``photo`` (or ``file``; name, stem or path), ``hole``, ``from``, ``to``
        in meters, ``box`` if wanted; with ``row`` (1 is the first) one line per row.

    Raises
    ------
    ValueError
        If columns are missing, depths are no numbers or run backward, or a photograph
        or row comes twice.
    FileNotFoundError
        If there is no such file.
    """
    table = (
        depths
        if isinstance(depths, pd.DataFrame)
        else read_table(depths, "table of depths")
    )
    table = table.rename(columns=str).rename(columns=str.strip)
    named = [name for name in _NAMED if name in table.columns]
    missing = [name for name in ("hole", "from", "to") if name not in table.columns]
    if not named or missing:
        raise ValueError(
            f"The table of depths has the columns {', '.join(table.columns)}; it needs "
            "photo, hole, from and to (meters), and row where it has a line per row."
        )
    out = pd.DataFrame(
        {
            "photo": [as_name(value) for value in table[named[0]]],
            "hole": [as_name(value) for value in table["hole"]],
            "from": pd.to_numeric(table["from"], errors="coerce").astype(float),
            "to": pd.to_numeric(table["to"], errors="coerce").astype(float),
            "box": [as_name(v) for v in table["box"]] if "box" in table else "",
            "row": (
                pd.to_numeric(table["row"], errors="coerce") if "row" in table else 0
            ),
        }
    )
    for i, line in out.iterrows():
        where = f"Line {i + 2} of the table of depths ({line['photo']})"
        if not line["hole"]:
            raise ValueError(f"{where} names no hole.")
        _check(where, line["from"], line["to"])
        if "row" in table and not (line["row"] >= 1 and line["row"] % 1 == 0):
            raise ValueError(
                f"{where} has no whole number from 1, the first row, as its row."
            )
    twice = out.duplicated(["photo", "row"])
    if twice.any():
        line = out[twice].iloc[0]
        row = f", row {int(line['row'])}," if line["row"] else ""
        raise ValueError(f"The table of depths has {line['photo']}{row} twice.")
    return dict(iter(out.groupby("photo", sort=False)))


def as_name(value):
    """Write the name of a hole: 12 for 12.0, nothing for what is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def depth_of(photo, rows, known=None):
    """Depth of each row of a photograph, or None where nothing is known.

    Parameters
    ----------
    photo : path-like
        The photograph.
    rows : ndarray of shape (n, 4, 2)
        Its rows, which share its interval in proportion to their lengths.
    known : dict, optional
        What `read_depths` returned; a photograph that it names is not asked for a name
        of the form ``HOLE_BOX_FROM_TO``.

    Returns
    -------
    depth : Depth or None

    Raises
    ------
    ValueError
        If depths run backward, or those of rows do not fit the rows.
    """
    photo = Path(photo)
    for name in _names(photo):
        if known and name in known:
            return _of_table(photo, rows, known[name])
    told = depth_of_name(photo.stem)
    if told is None:
        return None
    hole, box, start, stop = told
    _check(photo.name, start, stop)
    return Depth(hole, box, *_shared(rows, start, stop))


def check_named(photos, known):
    """Raise if a table of depths, as `read_depths` returns it, names no photograph."""
    if not any(name in known for photo in photos for name in _names(photo)):
        given = f"names {next(iter(known))}" if known else "is empty"
        raise ValueError(
            f"The table of depths {given}, and none of the photographs "
            f"({photos[0].name}, …); name them in its column photo."
        )


def _names(photo):
    """The names by which a table may call a photograph."""
    return str(photo), photo.name, photo.stem


def _shared(rows, start, stop):
    """Divide an interval among rows by their length."""
    lengths = np.array([straight_size(row)[1] for row in rows], float)
    ends = (
        start + (stop - start) * np.concatenate([[0], lengths.cumsum()]) / lengths.sum()
    )
    return ends[:-1], ends[1:]


def _of_table(photo, rows, part):
    """Depth of rows from the lines of a table."""
    holes = part["hole"].unique()
    if len(holes) > 1:
        raise ValueError(
            f"The table of depths puts {photo.name} into {len(holes)} holes, "
            f"{', '.join(holes)}; a photograph shows one."
        )
    hole, box = holes[0], part["box"].iloc[0]
    if (part["row"] == 0).all():
        line = part.iloc[0]
        return Depth(hole, box, *_shared(rows, line["from"], line["to"]))
    part = part.sort_values("row")
    if part["row"].tolist() != list(range(1, len(rows) + 1)):
        raise ValueError(
            f"{photo.name} has {len(rows)} rows, and the table of depths has lines for "
            f"{', '.join(f'{row:g}' for row in part['row'])}; give one for each."
        )
    starts, stops = part["from"].to_numpy(), part["to"].to_numpy()
    if (np.diff(starts) < 0).any():
        at = int(np.flatnonzero(np.diff(starts) < 0)[0])
        raise ValueError(
            f"{photo.name} runs backward: row {at + 2} begins at {starts[at + 1]:g} m, "
            f"row {at + 1} at {starts[at]:g} m."
        )
    return Depth(hole, box, starts, stops)


def gaps_and_overlaps(depths):
    """Where boxes or rows of a hole overlap, or leave depths without a photograph.

    Parameters
    ----------
    depths : DataFrame
        Columns ``hole``, ``photo``, ``depth_from`` and ``depth_to``, in any order.

    Returns
    -------
    table : DataFrame
        ``hole``, ``what`` (``"gap"`` or ``"overlap"``), ``from``, ``to``, ``meters``,
        ``after`` and ``before``: the photographs above and below.
    """
    rows = []
    columns = ["hole", "what", "from", "to", "meters", "after", "before"]
    for hole, part in depths.groupby("hole", sort=True):
        part = part.sort_values(["depth_from", "depth_to"], kind="stable")
        deepest, last = -np.inf, ""
        for line in part.itertuples():
            apart = line.depth_from - deepest
            if np.isfinite(apart) and abs(apart) > _TOLERANCE:
                what = "gap" if apart > 0 else "overlap"
                ends = sorted([deepest, line.depth_from])
                if apart < 0:
                    ends[1] = min(ends[1], line.depth_to)
                rows.append((hole, what, *ends, ends[1] - ends[0], last, line.photo))
            if line.depth_to > deepest:
                deepest, last = line.depth_to, line.photo
    table = pd.DataFrame(rows, columns=columns)
    return table.round({"from": 3, "to": 3, "meters": 3})


def read_intervals(intervals, what="table of intervals", needed=()):
    """Read intervals of depth: DataFrame with from, to, hole where given, and others.

    Raises
    ------
    ValueError
        If columns are missing, or an interval is no number or runs backward.
    """
    table = (
        intervals
        if isinstance(intervals, pd.DataFrame)
        else read_table(intervals, what)
    )
    table = table.rename(columns=str).rename(columns=str.strip).reset_index(drop=True)
    missing = [name for name in ("from", "to", *needed) if name not in table]
    if missing:
        raise ValueError(
            f"The {what} has the columns {', '.join(table.columns)}; it lacks "
            f"{' and '.join(missing)}."
        )
    table = table.assign(
        **{name: pd.to_numeric(table[name], errors="coerce") for name in ("from", "to")}
    )
    if "hole" in table:
        table["hole"] = [as_name(value) for value in table["hole"]]
    for i, line in table.iterrows():
        start, stop = float(line["from"]), float(line["to"])
        if not np.isfinite([start, stop]).all() or start >= stop:
            raise ValueError(
                f"Line {i + 2} of the {what} is no interval, from {start:g} to {stop:g} "
                "m; give meters down the hole, the smaller first."
            )
    return table
