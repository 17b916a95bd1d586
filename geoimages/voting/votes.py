"""Votes on side-by-side trials, stored in one SQLite file."""

import contextlib
import hashlib
import json
import math
import numbers
import os
import secrets
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from .trials import Trials

CHOICES = ("left", "right", "tie", "skip")
"""The possible votes."""

_APPLICATION_ID = 0x67656F76  # "geov"
_SCHEMA_VERSION = 2
_VOTES = """CREATE TABLE votes (
        vote INTEGER PRIMARY KEY AUTOINCREMENT,
        trial TEXT NOT NULL,
        voter TEXT NOT NULL,
        choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'tie', 'skip')),
        time TEXT NOT NULL,
        seconds REAL{}
    )"""
_TRIALS = """CREATE TABLE trials (
        place INTEGER PRIMARY KEY{},
        id TEXT NOT NULL UNIQUE,
        added TEXT NOT NULL,
        json TEXT NOT NULL{}
    )"""
_INDEX = "CREATE INDEX votes_of_a_voter ON votes (voter, trial)"
_SUM = """,
        sha256 TEXT NOT NULL"""
# Tables of each version. In version 1 rows have no checksums.
_SCHEMAS = {
    1: (_TRIALS.format("", ""), _VOTES.format(""), _INDEX),
    2: (_TRIALS.format(" AUTOINCREMENT", _SUM), _VOTES.format(_SUM), _INDEX),
}
_IMPLIED = {
    "sqlite_autoindex_trials_1": None,
    "sqlite_sequence": "CREATE TABLE sqlite_sequence(name,seq)",
}
_COLUMNS = {
    "trials": ("place", "id", "added", "json"),
    "votes": ("vote", "trial", "voter", "choice", "time", "seconds"),
}
_MOST_STEPS = 20_000_000  # of SQLite for one statement, a second or two
_MOST_TEXT = 200  # characters of a message of SQLite


def _now():
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _trials_row(trials):
    if not isinstance(trials, Trials):
        raise TypeError(
            f"trials must be what blind_trials returns, got {type(trials).__name__}."
        )
    return trials.id, _now(), trials.to_json()


def _one_line(error):
    return " ".join(str(error).split())[:_MOST_TEXT]


@contextlib.contextmanager
def _opened(path, *, write=False, create=False):
    """Connect for one transaction.

    A rollback journal instead of a write-ahead log leaves a single file, which can be
    copied and shared on a network drive, where a log does not work.
    """
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    options = {"uri": True, "timeout": 30, "isolation_level": None}
    try:
        with contextlib.closing(sqlite3.connect(uri, **options)) as db:
            # Pages of a damaged file may refer to each other in circles.
            db.set_progress_handler(lambda: 1, _MOST_STEPS)
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")
            db.execute("PRAGMA synchronous = EXTRA")
            if write:
                db.execute("BEGIN IMMEDIATE")
            if create:
                for statement in _SCHEMAS[_SCHEMA_VERSION]:
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            else:
                _check_schema(db, path)
            yield db
            if write:
                db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise OSError(
            f"{path} cannot be read or written ({_one_line(error)})."
        ) from None
    except (sqlite3.Error, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{path} is not a file of votes ({_one_line(error)})."
        ) from None


def _check_schema(db, path):
    """Raise a ValueError unless a file holds our tables and nothing else.

    A view under the name of a table may never end, and a trigger may change votes.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    version = _version(db)
    found = dict(db.execute("SELECT name, sql FROM sqlite_master").fetchall())
    if not (found or application or version):
        raise ValueError(f"{path} is empty; it holds no trials.")
    if application != _APPLICATION_ID:
        raise ValueError(f"{path} is a database of another program, not of votes.")
    if version > _SCHEMA_VERSION:
        raise ValueError(
            f"{path} was written by a newer geoimages (its version is {version}, this "
            f"one knows {_SCHEMA_VERSION}); update geoimages."
        )
    statements = _SCHEMAS.get(version, ())
    expected = {statement.split()[2]: statement for statement in statements} | _IMPLIED
    differ = [
        name for name in expected | found if found.get(name) != expected.get(name)
    ]
    if differ or len(found) != len(expected):
        raise ValueError(
            f"{path} is not a file of votes as geoimages writes it: {differ[0]!r} in it "
            "is missing or something else."
        )


def _version(db):
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return version


def _checksum(row, before):
    """SHA-256 of a row and of the checksum of the row before it."""
    return hashlib.sha256(json.dumps([*row, before], default=repr).encode()).hexdigest()


def _read(db, table, path):
    """Read the rows of a table in order, and hold them against their checksums."""
    columns, with_sums = _COLUMNS[table], _version(db) > 1
    names = ", ".join((*columns, "sha256") if with_sums else columns)
    # By the rows, not by an index, which may be damaged.
    query = f"SELECT {names} FROM {table} NOT INDEXED ORDER BY {columns[0]}"
    rows, before = db.execute(query).fetchall(), ""
    if not with_sums:
        return rows
    for number, (*row, found) in enumerate(rows, 1):
        before = _checksum(row, before)
        if found != before or row[0] != number:
            raise ValueError(f"{path} is damaged: its {table} have other checksums.")
    query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
    if db.execute(query, (table,)).fetchall() != [(len(rows),)] * bool(rows):
        raise ValueError(f"{path} is damaged: some of its {table} are missing.")
    return [row[:-1] for row in rows]


def _append(db, table, values):
    """Append a row, numbered and with its checksum where the file has them."""
    columns = _COLUMNS[table]
    if _version(db) > 1:
        query = f"SELECT {columns[0]}, sha256 FROM {table} ORDER BY 1 DESC LIMIT 1"
        number, before = db.execute(query).fetchone() or (0, "")
        row = (number + 1, *values)
        values, columns = (*row, _checksum(row, before)), (*columns, "sha256")
    else:
        columns = columns[1:]
    marks = ", ".join("?" * len(columns))
    db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)


def _add_trials(db, row):
    """Append trials, unless the file has them."""
    if not db.execute("SELECT 1 FROM trials WHERE id = ?", row[:1]).fetchone():
        _append(db, "trials", row)


def _create(path, row):
    """Make a file under another name and name it once it is whole; not over another."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with _opened(temporary, write=True, create=True) as db:
            _add_trials(db, row)
        if path.exists() and not path.stat().st_size:
            os.replace(temporary, path)
        else:
            _name_new(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(str(error).replace(str(temporary), str(path))) from None
    finally:
        temporary.unlink(missing_ok=True)
        path.with_name(f"{temporary.name}-journal").unlink(missing_ok=True)


def _name_new(temporary, path):
    """Give a file its name; FileExistsError where another process was faster."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.rename(temporary, path)


def check_voter(voter):
    """Return a voter's name stripped of whitespace, or raise a ValueError."""
    name = voter.strip() if isinstance(voter, str) else ""
    if not name:
        raise ValueError(f"voter must be a name, got {voter!r}.")
    return name


class Votes:
    """A file of trials and votes.

    Each vote is on disk when `record` returns, so a crash between two votes loses none.
    Several people and processes can vote concurrently.

    Parameters
    ----------
    path : str or path-like
        A file created by `record_votes`.

    Attributes
    ----------
    path : Path
        The file.
    trials : Trials
        All trials of the file, in display order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a file of votes.

    See Also
    --------
    record_votes : Opens or creates such a file.
    preference : Analyzes the votes.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(
                f"No votes at {self.path}; draw trials first (geoimages vote, or "
                "blind_trials and then record_votes(path, trials))."
            )
        with _opened(self.path):
            self._parts = {}

    def __repr__(self):
        table = self.table
        return (
            f"Votes({str(self.path)!r}: {len(self.trials)} trials, {len(table)} votes "
            f"of {table['voter'].nunique()} voters)"
        )

    @property
    def trials(self):
        """All trials of the file."""
        with _opened(self.path) as db:
            rows = _read(db, "trials", self.path)
        parts = []
        for _, name, _, text in rows:
            if name not in self._parts:
                self._parts[name] = Trials.from_json(text)
            parts.append(self._parts[name])
        if not parts or any(
            part.id != row[1] for part, row in zip(parts, rows, strict=True)
        ):
            raise ValueError(f"{self.path} is damaged: it holds other trials.")
        return parts[0] if len(parts) == 1 else Trials.joined(parts)

    def record(self, trial, voter, choice, seconds=None):
        """Record a vote, replacing an earlier one by the same voter on the same trial.

        Parameters
        ----------
        trial : str
            Name of the trial.
        voter : str
            Name of the voter.
        choice : {"left", "right", "tie", "skip"}
            The side more similar to the query; tie if neither is, skip if the voter
            cannot decide.
        seconds : float, optional
            Time taken.

        Raises
        ------
        KeyError
            If there is no such trial.
        ValueError
            If the choice, the time or the name of the voter is invalid.
        OSError
            If the file cannot be written, for example because it is locked.
        """
        if trial not in self.trials:
            raise KeyError(f"{trial!r} is not a trial of {self.path.name}.")
        if choice not in CHOICES:
            raise ValueError(f"choice={choice!r} is not one of {', '.join(CHOICES)}.")
        voter = check_voter(voter)
        if seconds is not None and not (
            isinstance(seconds, numbers.Real) and 0 <= seconds < math.inf
        ):
            raise ValueError(f"seconds must be 0 or more, got {seconds!r}.")
        row = (
            trial,
            voter,
            choice,
            _now(),
            None if seconds is None else float(seconds),
        )
        with _opened(self.path, write=True) as db:
            _append(db, "votes", row)

    @property
    def history(self):
        """All votes ever cast, oldest first, as a DataFrame.

        Index ``vote``; ``trial``, ``voter``, ``choice``, ``time`` (UTC) and
        ``seconds``.
        """
        with _opened(self.path) as db:
            rows = _read(db, "votes", self.path)
        table = pd.DataFrame(rows, columns=list(_COLUMNS["votes"]))
        strange = set(table["trial"]) - {trial.name for trial in self.trials}
        try:
            table = table.astype({"seconds": float, "trial": str, "voter": str})
            table["time"] = pd.to_datetime(table["time"], utc=True)
        except (ValueError, TypeError):
            strange = True
        if strange or not table["choice"].isin(CHOICES).all():
            raise ValueError(f"{self.path} holds votes that geoimages did not write.")
        return table.set_index("vote")

    @property
    def table(self):
        """The votes that count, each voter's last on each trial, as a DataFrame.

        The columns of `history` and the trial's ``query``, ``left_model``,
        ``right_model`` and ``repeat_of``.
        """
        last = self.history.drop_duplicates(["voter", "trial"], keep="last")
        about = self.trials.revealed.drop(columns=["left", "right"])
        return last.join(about, on="trial")

    def pending(self, voter):
        """Return the trials that a voter has not answered yet.

        Parameters
        ----------
        voter : str
            Name of the voter.

        Returns
        -------
        trials : list of Trial
            In display order.
        """
        voter = check_voter(voter)
        with _opened(self.path) as db:
            rows = _read(db, "votes", self.path)
        done = {trial for _, trial, by, *_ in rows if by == voter}
        return [trial for trial in self.trials if trial.name not in done]


def record_votes(path, trials=None):
    """Open or create a file of votes.

    Parameters
    ----------
    path : str or path-like
        The file, usually ``.votes``.
    trials : Trials, optional
        As returned by `blind_trials`. Required for a new file; an existing file appends
        them once.

    Returns
    -------
    votes : Votes

    Raises
    ------
    FileNotFoundError
        If there is no such file and `trials` is None, or the folder does not exist.
    ValueError
        If the file is something else; it is not changed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from geoimages import PairwiseModel, blind_trials, make_rocks, record_votes
    >>> images, _ = make_rocks(30, random_state=0)
    >>> keys = [f"rock.{i}" for i in range(30)]
    >>> X = pd.DataFrame(images.reshape(30, -1), index=keys)
    >>> models = {m: PairwiseModel(dist_metric=m).fit(X) for m in ("cosine", "cityblock")}
    >>> trials = blind_trials(models, keys, n_trials=4, repeats=0, random_state=0)
    >>> votes = record_votes(pathlib.Path(tempfile.mkdtemp()) / "rocks.votes", trials)
    >>> votes.record(votes.pending("ann")[0].name, "ann", "left", seconds=4.2)
    >>> len(votes.pending("ann")), len(votes.pending("bo"))
    (3, 4)
    """
    path = Path(path)
    if trials is None:
        return Votes(path)
    row = _trials_row(trials)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: its folder does not exist; create it first."
        )
    if not path.exists() or not path.stat().st_size:
        with contextlib.suppress(FileExistsError):
            _create(path, row)
            return Votes(path)
    with _opened(path, write=True) as db:
        _add_trials(db, row)
    return Votes(path)
