"""Blind side-by-side trials of two models' answers."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import NewerVersionError, atomic_path, check_version

_FORMAT = "geoimages.trials"
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Trial:
    """One blind trial of two answers to a query.

    Parameters
    ----------
    name : str
        Name of the trial.
    query : str
        Key of the query.
    left, right : tuple of str
        Keys of the answers, best first.
    left_model, right_model : str
        The models that gave them. Not shown.
    repeat_of : str
        Name of the trial that this one repeats with sides swapped, or empty. Not
        shown.
    """

    name: str
    query: str
    left: tuple
    right: tuple
    left_model: str = field(repr=False)
    right_model: str = field(repr=False)
    repeat_of: str = field(default="", repr=False)


class Trials:
    """Side-by-side trials in display order.

    Created by `blind_trials`. Nothing printed names the models; `revealed` does. (In
    the file they are obscured, not encrypted.)

    Parameters
    ----------
    trials : list of Trial
        The trials.
    pairs : DataFrame
        Index (first, second); columns ``queries``, how many both models answered, and
        ``identical``, how many of them with the same pictures in the same order. Those
        make no trial.

    Attributes
    ----------
    id : str
        Eight hexadecimal digits that stand for the content.
    models : list of str
        The models compared.
    table : DataFrame
        Index ``trial``; ``query``, ``left``, ``right``.

    See Also
    --------
    blind_trials : Draws trials.
    record_votes : Keeps the votes on them.
    """

    def __init__(self, trials, pairs):
        self._trials = {trial.name: trial for trial in trials}
        self.pairs = pairs
        self.models = list(dict.fromkeys(name for pair in pairs.index for name in pair))
        self.id = digest([vars(trial) for trial in trials])

    def __len__(self):
        return len(self._trials)

    def __iter__(self):
        return iter(self._trials.values())

    def __getitem__(self, name):
        return self._trials[name]

    def __contains__(self, name):
        return name in self._trials

    def __repr__(self):
        repeats = sum(bool(trial.repeat_of) for trial in self)
        return (
            f"Trials({len(self)} trials of {len(self.models)} models, {repeats} of them "
            f"repeats; {int(self.pairs['identical'].sum())} left out as identical)"
        )

    @property
    def table(self):
        """The trials as shown to voters."""
        return self.revealed[["query", "left", "right"]]

    @property
    def revealed(self):
        """The trials with ``left_model`` and ``right_model``.

        ``repeat_of`` names the trial that it repeats, or is empty.
        """
        columns = [column.name for column in fields(Trial)]
        table = pd.DataFrame([vars(trial) for trial in self], columns=columns)
        return table.set_index("name").rename_axis("trial")

    def to_json(self):
        """Return the trials as text for `from_json`.

        Returns
        -------
        text : str
        """
        about = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "created_by": f"geoimages {version('geoimages')}",
            "pairs": [
                [*pair, *map(int, counts)]
                for pair, *counts in self.pairs[["queries", "identical"]].itertuples()
            ],
            "trials": [vars(trial) for trial in self],
        }
        return json.dumps(about, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text):
        """Return the trials from the text of `to_json`.

        Parameters
        ----------
        text : str
            JSON.

        Returns
        -------
        trials : Trials

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            about = json.loads(text)
            if about["format"] != _FORMAT:
                raise ValueError("it is marked as something else")
            check_version("The file", about["format_version"], _FORMAT_VERSION)
            trials = [
                Trial(**row | {side: tuple(row[side]) for side in ("left", "right")})
                for row in about["trials"]
            ]
            if not all(isinstance(text, str) for text in _texts(about["trials"])):
                raise ValueError("a key or a name in it is no text")
            pairs = {
                (str(one), str(two)): list(map(int, counts))
                for one, two, *counts in about["pairs"]
            }
            return cls(trials, pairs_table(pairs))
        except NewerVersionError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"These are not trials of geoimages ({error}).") from None

    def save(self, path):
        """Write the trials to a JSON file, atomically.

        Parameters
        ----------
        path : str or path-like
            The file.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read trials that `save` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        trials : Trials

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"No trials at {path}; draw some (blind_trials).")
        try:
            return cls.from_json(path.read_bytes().decode("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def joined(cls, parts):
        """Concatenate several sets of trials.

        Parameters
        ----------
        parts : list of Trials
            The sets.

        Returns
        -------
        trials : Trials
        """
        counts = {}
        for part in parts:
            for pair, *more in part.pairs.itertuples():
                pair = pair[::-1] if pair[::-1] in counts else pair
                counts[pair] = np.add(counts.get(pair, 0), more)
        return cls([trial for part in parts for trial in part], pairs_table(counts))


def _texts(rows):
    """All keys and names of trials as they are read, one after the other."""
    for row in rows:
        for name, value in row.items():
            yield from value if name in ("left", "right") else [value]


def digest(rows):
    """Hash rows to eight hexadecimal digits."""
    text = json.dumps(rows, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def pairs_table(counts):
    """Make `Trials.pairs` of {(first, second): (queries, identical)}."""
    index = pd.MultiIndex.from_tuples(counts, names=["first", "second"])
    return pd.DataFrame([*counts.values()], index, columns=["queries", "identical"])
