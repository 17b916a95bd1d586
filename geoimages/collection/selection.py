"""Selection of pictures by the columns of a collection's table."""

import math
import re

import numpy as np
import pandas as pd

_CONDITION = re.compile(r"([^<>=]+?)\s*(<=|>=|<|>|=)\s*(.+)")
_NUMBER = r"[+-]?\d+\.?\d*(?:[eE][+-]?\d+)?"
_FROM_TO = re.compile(rf"({_NUMBER})?\.\.({_NUMBER})?")
_BOUND = re.compile(rf"(<=|>=|<|>)\s*({_NUMBER})")


class Range:
    """Numbers between two bounds.

    Parameters
    ----------
    text : str
        ``"10..14"`` (both included), ``"10.."``, ``"..14"``, ``">12"``, ``">=12"``,
        ``"<12"`` or ``"<=12"``.

    Raises
    ------
    ValueError
        If the text is none of these, or the first bound is greater than the second.
    """

    def __init__(self, text):
        self.written = [text]
        bound, between = _BOUND.fullmatch(text), _FROM_TO.fullmatch(text)
        self.low, self.high, self.open_low, self.open_high = -math.inf, math.inf, 0, 0
        if bound and bound[1][0] == ">":
            self.low, self.open_low = float(bound[2]), bound[1] == ">"
        elif bound:
            self.high, self.open_high = float(bound[2]), bound[1] == "<"
        elif between and text != "..":
            self.low = float(between[1] or -math.inf)
            self.high = float(between[2] or math.inf)
            if self.low > self.high:
                raise ValueError(
                    f"The range {text} is reversed, its first number is the greater; "
                    f"write {between[2]}..{between[1]}."
                )
        else:
            raise ValueError(f"{text!r} is not a range such as 10..14 or >12.")

    def __repr__(self):
        return " and ".join(self.written)

    def overlap(self, start, stop):
        """Which intervals overlap the range: (n,), (n,) -> (n,) bool."""
        above = stop > self.low if self.open_low else stop >= self.low
        below = start < self.high if self.open_high else start <= self.high
        return above & below

    def __and__(self, other):
        """Intersection of two ranges."""
        both = Range(">0")
        both.written = self.written + other.written
        both.low, both.open_low = max(
            (self.low, self.open_low), (other.low, other.open_low)
        )
        both.high, shut = min(
            (self.high, not self.open_high), (other.high, not other.open_high)
        )
        both.open_high = not shut
        return both


def parse_condition(text):
    """Split ``hole=BH12``, ``depth=10..14`` or ``depth>12``: (column, value).

    Raises
    ------
    ValueError
        If the text is not a condition.
    """
    match = _CONDITION.fullmatch(text.strip())
    if not match:
        raise ValueError(
            f"{text!r} is not COLUMN=VALUE, COLUMN=LOW..HIGH or COLUMN>LOW."
        )
    name, operator, value = match.groups()
    return name, value if operator == "=" else Range(f"{operator}{value}")


def parse_conditions(texts):
    """Turn conditions into what `Collection.where` takes: dict of lists.

    Values of a column are alternatives, two bounds of it hold together.

    Raises
    ------
    ValueError
        If a text is not a condition.

    Examples
    --------
    >>> parse_conditions(["hole=BH12", "hole=BH13"])
    {'hole': ['BH12', 'BH13']}
    """
    where = {}
    for text in texts:
        name, value = parse_condition(text)
        given = where.setdefault(name, [])
        if isinstance(value, Range) and given and isinstance(given[-1], Range):
            given[-1] = given[-1] & value
        else:
            given.append(value)
    return where


def conditions(where):
    """Write columns and their values as conditions: ``hole=BH9 or hole=BH12``."""
    told = []
    for name, value in where.items():
        values = value if isinstance(value, list | tuple) else [value]
        parts = [v.written if isinstance(v, Range) else [str(v)] for v in values]
        told.append(
            " or ".join(
                " and ".join(
                    f"{name}{text}" if _BOUND.fullmatch(text) else f"{name}={text}"
                    for text in part
                )
                for part in parts
            )
        )
    return ", and ".join(told)


def _as_range(name, value):
    """A value of a column of numbers: a `Range`, or the number alone."""
    if isinstance(value, Range):
        return value
    if isinstance(value, str) and (_BOUND.fullmatch(value) or ".." in value):
        return Range(value)
    try:
        number = float(value)
    except ValueError:
        raise ValueError(
            f"Column {name!r} holds numbers, got {value!r}; pass one, or a range such "
            "as 10..14 or >12."
        ) from None
    return Range(f"{number!r}..{number!r}")


def matching(table, name, value):
    """Find the rows of a table with a value, or a value range, in a column.

    Parameters
    ----------
    table : DataFrame
    name : str
        A column; if there is none of that name, the intervals from ``<name>_from`` to
        ``<name>_to``, which match if they overlap the value.
    value : str, number, Range or list of them
        The value, or a list of alternatives.

    Returns
    -------
    matches : ndarray of shape (n,), bool

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If the value is not a number for a numeric column, or a range for a text column.
    """
    values = value if isinstance(value, list | tuple) else [value]
    interval = [f"{name}_from", f"{name}_to"]
    if name in table:
        columns = [table[name]] * 2
    elif all(end in table for end in interval):
        columns = [table[end] for end in interval]
    else:
        raise KeyError(f"No column {name!r}; there are {', '.join(map(str, table))}.")
    if all(map(pd.api.types.is_numeric_dtype, columns)):
        ends = np.stack([column.to_numpy(float) for column in columns])
        start, stop = ends.min(axis=0), ends.max(axis=0)
        found = [_as_range(name, value).overlap(start, stop) for value in values]
        return np.any(found, axis=0) if found else np.zeros(len(table), bool)
    ranges = [value for value in values if isinstance(value, Range)]
    if ranges:
        raise ValueError(f"Column {name!r} holds text, which has no range {ranges[0]}.")
    return columns[0].astype(str).isin([str(value) for value in values]).to_numpy()
