"""What all visitors share: the collection, the models fitted on it, votes and labels."""

import contextlib
import threading
from pathlib import Path

import numpy as np
import pandas as pd

from ..collection.duplicates import find_duplicates
from ..collection.manifest import NAME
from ..collection.store import Collection
from ..collection.text import printable
from ..files import progress
from ..voting import blind_trials, preference, record_votes
from ..workflows import UNLIKE, ask, fit_keeping, read_candidate
from .labels import LabelFile
from .photos import keypoints_of, photos_of, places
from .tasks import Preparing, Tasks

MOST_PIXELS = 50_000_000  # of a picture that a visitor sends
_OWN = ("sha256", "ledger_row", "turn", "lineage", "source")
_MOST_VALUES = 200  # of a column that can be chosen from a list
_BLOCK = 512  # pictures classified together


class Replaced(Exception):
    """The collection is another one than the page was made of."""


class Shelf:
    """One state of the collection's file, and what was computed from it.

    Parameters
    ----------
    rocks : Collection
        Open.
    """

    def __init__(self, rocks):
        self.rocks = rocks
        self.version = self.rocks.digest()[:16]
        self.table = self.rocks.table
        self.known = [name for name in self.table if name not in (*_OWN, "label")]
        # What names each picture anew says nothing beside its key.
        self.shown = [name for name in self.known if not _is_name(self.table[name])]
        self.tasks, self.photos = Tasks(), photos_of(rocks, self.table)
        self.computing = threading.Semaphore(2)

    def close(self):
        """Stop what is computed in the background."""
        self.tasks.close()

    def columns(self):
        """The columns of the metadata that a search can be limited by: list of dict."""
        out, names = [], ["label", *self.shown]
        for name in names:
            if name.endswith(("_from", "_to")):
                stem = name.rpartition("_")[0]
                if {f"{stem}_from", f"{stem}_to"} <= set(names):
                    if name.endswith("_from"):
                        ends = self.table[[f"{stem}_from", f"{stem}_to"]]
                        if all(kind.kind in "iuf" for kind in ends.dtypes):
                            out.append(_range_of(stem, ends.to_numpy(float)))
                    continue
            column = self.table[name]
            if column.dtype.kind in "iuf":
                out.append(_range_of(name, column.to_numpy(float)))
                continue
            values = column.astype(str)
            values = sorted(set(values[values != ""]))
            if values:
                out.append({"name": name, "values": values[:_MOST_VALUES]})
        return [column for column in out if column]

    def rows(self, positions):
        """What the page shows of pictures: list of dict."""
        positions = [int(i) for i in positions]
        table = self.table[self.shown].iloc[positions]
        # pandas 2 has no records of a table without columns.
        about = table.to_dict("records") if self.shown else [{}] * len(positions)
        keys, labels = self.rocks.keys, self.rocks.labels
        return [
            {
                "position": i,
                "key": str(keys[i]),
                "name": printable(str(keys[i])),
                "label": printable(str(labels[i])),
                "about": _in_words(row),
            }
            for i, row in zip(positions, about, strict=True)
        ]

    def positions(self, keys):
        """Positions of keys, or a KeyError that names the first unknown one."""
        return [self.rocks.position(key) for key in keys]


def _in_words(row):
    """The metadata of a picture that is known, as texts: dict."""
    said = {}
    for name, value in row.items():
        if value != value or value in ("", None):
            continue
        text = f"{value:g}" if isinstance(value, float) else printable(str(value))
        stem, _, end = name.rpartition("_")
        if end == "to" and f"{stem}_from" in said:
            said[stem] = f"{said.pop(f'{stem}_from')}–{text}"
        else:
            said[printable(name)] = text
    return said


def _is_name(column):
    """Whether a column holds another text for each of many pictures, like a file name."""
    is_text = column.dtype.kind not in "biufM"
    return is_text and len(column) > 20 and column.nunique() > 0.9 * len(column)


def _range_of(name, values):
    """The range of a column of numbers, or None if it has none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return {"name": name, "low": float(known.min()), "high": float(known.max())}


class Desk:
    """What the page works with.

    Parameters
    ----------
    path : path-like
        The collection.
    make_model : callable
        Called as ``make_model(model, features, color=...)``; returns an unfitted
        similarity model.
    features : dict of str
        What visitors may choose, by name, as `make_model` takes it; the first is the
        default.
    classifier : classifier, optional
        Fitted.
    votes, labels : path-like, optional
        The files of votes and labels; by default beside the collection.

    Raises
    ------
    FileNotFoundError
        If there is no such collection.
    """

    def __init__(
        self, path, make_model, features, *, classifier=None, votes=None, labels=None
    ):
        self.path = Path(path)
        Collection(path).close()  # whatever is wrong is said now
        self.make_model, self.classifier = make_model, classifier
        self.made_of, self.features = dict(features), list(features)
        self.votes_path = Path(votes or self.path.with_suffix(".votes"))
        self.labels = LabelFile(labels or self.path.with_suffix(".labels.csv"))
        self._tasks, self._last, self._shelf = Tasks(), None, None
        self._drawing = threading.Lock()

    def shelf(self):
        """Return the collection as it is now, or raise `Preparing`."""
        try:
            stat = (self.path / NAME if self.path.is_dir() else self.path).stat()
            self._last = stat.st_mtime_ns, stat.st_size, stat.st_ino
        except OSError:  # between two names
            pass
        shelf = self._tasks.get(
            ("open", self._last), "Opening the collection", self._open
        )
        if shelf is not self._shelf:
            if self._shelf is not None:
                self._shelf.close()
            self._shelf = shelf
        return shelf

    def _open(self):
        shelf = Shelf(Collection(self.path, "r+"))
        with contextlib.suppress(Preparing):  # the first question needs it in any case
            self.model(shelf, self._usual)
        return shelf

    def checked(self, version):
        """Return the shelf of a version, or raise `Replaced`."""
        shelf = self.shelf()
        if version and version != shelf.version:
            raise Replaced(
                "The collection was replaced since this page was opened; load the page "
                "again."
            )
        return shelf

    def close(self):
        """Stop what is computed in the background."""
        self._tasks.close()
        if self._shelf is not None:
            self._shelf.close()

    @property
    def _usual(self):
        return "pairwise", self.features[0], None

    def model(self, shelf, fitted):
        """Return a fitted model, or raise `Preparing`."""

        def fit():
            kind, features, color = fitted
            model = self.make_model(kind, self.made_of[features], color=color)
            return fit_keeping(model, shelf.rocks)

        title = f"Describing the pictures by {fitted[1]} features"
        return shelf.tasks.get(("model", fitted), title, fit)

    def prepare(self):
        """Return once the first question can be asked, or raise `Preparing`."""
        shelf = self.shelf()
        self.model(shelf, self._usual)
        return shelf

    def answer(self, shelf, question, data=None):
        """Answer a question about a key, or about the content of a picture file."""
        model = self.model(shelf, question.fitted)
        if question.key is None and data is None:
            raise ValueError("Send a picture, or name one of the collection.")
        with shelf.computing:
            return ask(
                model,
                shelf.rocks,
                question.key if data is None else data,
                where=question.conditions(),
                box=question.box,
                k_candidates=question.k,
                dist_metric=question.metric,
                orientation=question.orientation,
                classifier=self.classifier,
                max_pixels=MOST_PIXELS,
            )

    def places(self, shelf, question, data=None):
        """Return where a picture occurs in the photographs of a collection of tiles."""
        if not shelf.photos:
            raise ValueError(f"{shelf.rocks.path.name} holds no large photographs.")
        shelf.tasks.get(
            "keypoints",
            "Describing the photographs",
            *(keypoints_of, shelf.rocks, shelf.photos),
        )
        model = self.model(shelf, ("pairwise", "pattern", None))
        picture = read_candidate(
            shelf.rocks,
            question.key if data is None else data,
            question.box,
            MOST_PIXELS,
        )
        left_out = None
        if data is None:
            row = shelf.table.loc[question.key]
            height, width = (
                side * row["scale"] for side in shelf.rocks.image_shape[:2]
            )
            left_out = row["sha256"], (row["x"], row["y"], width, height)
        with shelf.computing:
            return places(model, shelf.rocks, shelf.photos, picture, left_out)

    def points(self, shelf, features, method):
        """Return a map of all pictures, (n, 2) float32 in 0–1, or raise `Preparing`."""
        model = self.model(shelf, ("pairwise", features, None))

        return shelf.tasks.get(
            ("map", features, method),
            "Drawing the map",
            map_of,
            shelf.rocks,
            model,
            method,
        )

    def column(self, shelf, name):
        """Return a column to color the map by: dict of names and codes, or of values."""
        if name == "given labels":
            given = self.labels.read()
            column = pd.Series([given.get(k, "") for k in shelf.rocks.keys.tolist()])
        else:
            return column_of(shelf, name)
        return _coded(column)

    def duplicates(self, shelf):
        """Return the copies in the collection, or raise `Preparing`."""
        return shelf.tasks.get(
            "duplicates", "Looking for copies", find_duplicates, shelf.rocks
        )

    def order(self, shelf):
        """Return what to label first: (positions, reasons, table), or raise `Preparing`.

        Without a classifier these are the pictures without a label, then the others.
        """
        if self.classifier is None:
            blank = shelf.rocks.labels == ""
            positions = np.argsort(~blank, kind="stable")
            return positions, None
        return shelf.tasks.get(
            "order", "Finding what the model is unsure of", self._uncertain, shelf
        )

    def _uncertain(self, shelf):
        """Positions by how new or uncertain they are, and what the model says of each."""
        told = []
        for start in progress(range(0, len(shelf.rocks), _BLOCK), desc="classifying"):
            images = shelf.rocks[start : start + _BLOCK]
            proba = self.classifier.predict_proba(images)
            novelty = self.classifier.novelty(images)
            told.append(np.column_stack([novelty, np.sort(proba)[:, ::-1][:, :2]]))
        novelty, first, second = np.concatenate(told).T
        new = novelty > UNLIKE
        positions = np.lexsort((first - second, ~new))
        return positions, np.where(new, "new", "uncertain")

    def group_of(self, shelf, position):
        """Return the positions of a picture and its copies, as far as they are known."""
        lineage = shelf.table["lineage"].to_numpy()
        group = np.flatnonzero(lineage == lineage[position])
        try:
            groups = self.duplicates(shelf).groups
        except Preparing:
            return group
        key = shelf.rocks.keys[position]
        if key in groups.index:
            keys = groups.index[groups == groups[key]]
            group = np.union1d(group, shelf.positions(keys))
        return group

    @property
    def votes(self):
        """The file of votes, or None while there is none."""
        return record_votes(self.votes_path) if self.votes_path.exists() else None

    def draw_trials(self, shelf, pair, n_trials, k):
        """Create the file of votes with blind trials of two models."""
        models = {}
        for name in pair:
            kind, _, features = name.partition(":")
            models[name] = self.model(shelf, (kind, features, None))

        def draw():
            rng = np.random.default_rng(0)
            queries = rng.permutation(shelf.rocks.keys)[: 2 * n_trials].tolist()
            n_drawn = min(n_trials, len(queries))
            drawn = blind_trials(models, queries, k=k, n_trials=n_drawn, random_state=0)
            with self._drawing:
                if self.votes_path.exists():
                    raise ValueError(f"{self.votes_path.name} is there already.")
                record_votes(self.votes_path, drawn)
            return len(drawn)

        return shelf.tasks.get(("trials", *pair, n_trials, k), "Drawing trials", draw)

    def verdict(self):
        """What the votes say, as a dict."""
        return preference(self.votes).as_dict()


def pairs_with_rows(shelf, duplicates, most):
    """The contradicting pairs among duplicates, first, as rows of the page."""
    pairs = duplicates.contradictions.head(most)
    return [
        {
            "kind": row["kind"],
            "pictures": shelf.rows(shelf.positions([row["key"], row["duplicate_of"]])),
        }
        for _, row in pairs.iterrows()
    ]


def map_of(rocks, model, method="pca"):
    """Place all pictures on a map, similar ones close: (n, 2) float32 in 0–1."""
    from ..visualize import project_vectors  # half a second, which no answer waits for

    if model.features is None:
        rows = rocks.to_frame().to_numpy()
    else:
        rows = rocks.features(model.features_)
    points = project_vectors(rows, method, random_state=0)
    low, high = points.min(axis=0), points.max(axis=0)
    span = max((high - low).max(), 1e-9)
    return ((points - (low + high) / 2) / span + 0.5).astype("<f4")


def column_of(shelf, name):
    """A column of the collection to color a map by, as `Desk.column` returns it."""
    if name not in ("label", *shelf.known):
        raise KeyError(f"There is no column {name!r}.")
    column = shelf.table[name]
    if column.dtype.kind in "iuf":
        values = column.to_numpy(float)
        values = np.where(np.isfinite(values), values.round(6), np.nan).tolist()
        return {"values": [v if v == v else None for v in values]}
    return _coded(column)


def _coded(column):
    """A column of texts as names, and the place of each picture's among them."""
    codes, names = pd.factorize(column.astype(str), sort=True)
    return {
        "names": [printable(name) for name in names.tolist()],
        "codes": codes.tolist(),
    }
