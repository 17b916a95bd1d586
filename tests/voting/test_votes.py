"""Votes are kept: through crashes, by several people, by several processes."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from geoimages import (
    PairwiseModel,
    TripletEmbedding,
    Votes,
    blind_trials,
    record_votes,
    triplets_from_votes,
)
from geoimages.voting import votes as module

QUERIES = [f"q{i}" for i in range(12)]


class Answers:
    """Finds five pictures, the first the same for all."""

    def __init__(self, prefix):
        self.prefix = prefix

    def predict(self, queries, k_candidates=None):
        names = ["same", *(f"{self.prefix}{i}" for i in range(1, k_candidates))]
        rows = [(query, name) for query in queries for name in names]
        index = pd.MultiIndex.from_tuples(rows, names=["query", "key"])
        return pd.DataFrame({"cosine": 0.5}, index=index)


def draw(seed=0, **options):
    models = {"one": Answers("x"), "two": Answers("y")}
    return blind_trials(models, QUERIES, k=4, random_state=seed, **options)


@pytest.fixture
def votes(tmp_path):
    return record_votes(tmp_path / "a.votes", draw())


def test_a_new_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(temporary, path):
        raise OSError(f"{temporary} cannot be read or written (disk is full).")

    monkeypatch.setattr(module, "_name_new", refuse)
    with pytest.raises(OSError, match="/a.votes cannot be read") as caught:
        record_votes(tmp_path / "a.votes", draw())
    assert ".part" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_voter_goes_on_where_he_stopped(votes):
    names = [trial.name for trial in votes.trials]
    assert [trial.name for trial in votes.pending("ann")] == names
    for name, choice in zip(names, ("left", "tie", "skip"), strict=False):
        votes.record(name, "ann", choice, seconds=1.5)
    again = record_votes(votes.path)
    assert [trial.name for trial in again.pending(" ann ")] == names[3:]
    assert len(again.pending("bo")) == len(names)
    history = again.history
    assert history["choice"].tolist() == ["left", "tie", "skip"]
    assert history["seconds"].tolist() == [1.5] * 3
    now = pd.Timestamp.now("UTC")
    assert (abs(history["time"] - now) < pd.Timedelta("1min")).all()
    assert "13 trials, 3 votes of 1 voters" in repr(votes)


def test_the_last_vote_counts_and_the_first_is_kept(votes):
    name = next(iter(votes.trials)).name
    votes.record(name, "ann", "left")
    votes.record(name, "bo", "tie")
    votes.record(name, "ann", "right")
    assert votes.history["choice"].tolist() == ["left", "tie", "right"]
    table = votes.table
    assert table.set_index("voter")["choice"].to_dict() == {"ann": "right", "bo": "tie"}
    trial = votes.trials[name]
    assert (table["query"] == trial.query).all()
    assert (table["left_model"] == trial.left_model).all()
    assert (table["right_model"] == trial.right_model).all()


def test_a_file_without_votes(votes):
    assert votes.table.empty
    assert votes.history.empty
    triplets, weights = triplets_from_votes(votes)
    assert triplets.shape == (0, 3)
    assert weights.shape == (0,)


def test_more_trials_come_behind_and_only_once(votes):
    first = votes.trials
    more = draw(seed=1, n_trials=4, repeats=0)
    assert record_votes(votes.path, first).trials.table.equals(first.table)
    both = record_votes(votes.path, more).trials
    record_votes(votes.path, more)
    assert [t.name for t in both] == [t.name for t in (*first, *more)]
    assert len(votes.trials) == len(both) == 17  # seen by who had it open, too
    votes.record(next(iter(more)).name, "ann", "left")
    assert len(votes.table) == 1


WRITER = """
import os, signal, sys
from geoimages.voting import votes as module
votes = module.Votes(sys.argv[1])
for i, trial in enumerate(votes.trials):
    if i == 5:
        with module._opened(votes.path, write=True) as db:
            row = (trial.name, "ann", "left", "2026-01-01T00:00:00+00:00", None)
            module._append(db, "votes", row)
            os.kill(os.getpid(), signal.SIGKILL)
    votes.record(trial.name, "ann", "right", 1.0)
    print(i, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_votes_of_a_killed_process_beside_another_that_votes(votes):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, votes.path], stdout=subprocess.PIPE
    )
    names, recorded = [trial.name for trial in votes.trials], 0
    while process.poll() is None:
        votes.record(names[recorded % len(names)], "bo", "left")
        recorded += 1
        time.sleep(0.01)  # people do not keep the file locked all the time
    assert process.communicate()[0].split() == [b"0", b"1", b"2", b"3", b"4"]
    assert process.returncode == -signal.SIGKILL
    history = votes.history
    assert history["voter"].value_counts().to_dict() == {"ann": 5, "bo": recorded}
    # They took turns: the file was written by both at a time.
    turns = (history["voter"] != history["voter"].shift()).sum()
    assert turns > 2
    assert votes.pending("ann")[0].name == names[5]
    votes.record(names[5], "ann", "tie")
    with contextlib.closing(sqlite3.connect(votes.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [path.name for path in votes.path.parent.iterdir()] == ["a.votes"]


def test_a_file_that_is_locked_or_gone_is_said(votes, monkeypatch):
    name = next(iter(votes.trials)).name
    wait = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, **o: wait(*a, **o | {"timeout": 0})
    )
    other = wait(votes.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match="a.votes cannot be read or written .*locked"):
        votes.record(name, "ann", "left")
    other.execute("ROLLBACK")
    other.close()
    votes.record(name, "ann", "left")
    votes.path.unlink()
    with pytest.raises(OSError, match="cannot be read or written"):
        votes.record(name, "ann", "left")


def test_foreign_files_are_refused_and_left_alone(tmp_path):
    text, other, newer = (tmp_path / name for name in ("a.txt", "b.db", "c.votes"))
    text.write_text("not a database, but long enough to look like one" * 20)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE votes (trial TEXT)")
    db.close()
    record_votes(newer, draw())
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    for path, message in (
        (text, "a.txt is not a file of votes"),
        (other, "b.db is a database of another program"),
        (newer, "c.votes was written by a newer geoimages"),
    ):
        before = path.read_bytes()
        for trials in (None, draw()):
            with pytest.raises(ValueError, match=message):
                record_votes(path, trials)
        assert path.read_bytes() == before


VIEW = """CREATE VIEW {} AS WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1
FROM up) SELECT n AS place, n AS vote, 'x' AS id, 'x' AS trial, '' AS json FROM up"""


@pytest.mark.parametrize(
    ("statements", "name"),
    [
        (["DROP TABLE trials", VIEW.format("trials")], "trials"),
        (["DROP TABLE votes", VIEW.format("votes")], "votes"),
        ([VIEW.format("extra")], "extra"),
        (
            [
                "CREATE TRIGGER turn AFTER INSERT ON votes BEGIN "
                "UPDATE votes SET choice = 'left'; END"
            ],
            "turn",
        ),
        (["DROP INDEX votes_of_a_voter"], "votes_of_a_voter"),
    ],
)
def test_views_and_triggers_are_refused(votes, statements, name):
    trial = next(iter(votes.trials)).name
    with contextlib.closing(sqlite3.connect(votes.path)) as db, db:
        for statement in statements:
            db.execute(statement)
    for ask in (
        lambda: Votes(votes.path),
        lambda: votes.trials,
        lambda: votes.record(trial, "ann", "right"),
        lambda: record_votes(votes.path, draw(1)),
    ):
        with pytest.raises(ValueError, match=f"as geoimages writes it: '{name}'"):
            ask()


@pytest.mark.parametrize(
    "row",
    [
        ("x", "ann", "left", "2026-01-01T00:00:00+00:00", 1),
        (None, "ann", "left", "yesterday", 1),
        (None, "ann", "left", "2026-01-01T00:00:00+00:00", "long"),
    ],
)
def test_votes_that_nobody_cast_are_refused(first_version, row):
    path = first_version
    row = (row[0] or next(iter(Votes(path).trials)).name, *row[1:])
    change(
        path,
        "INSERT INTO votes (trial, voter, choice, time, seconds) VALUES (?,?,?,?,?)",
        row,
    )
    with pytest.raises(ValueError, match="a.votes holds votes that geoimages did not"):
        Votes(path).table  # noqa: B018


def change(path, statement, values=()):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


@pytest.fixture
def first_version(tmp_path):
    """A file as the first version wrote it: rows have no checksums."""
    path, trials = tmp_path / "a.votes", draw()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(
            """CREATE TABLE trials (
        place INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        added TEXT NOT NULL,
        json TEXT NOT NULL
    )"""
        )
        db.execute(
            """CREATE TABLE votes (
        vote INTEGER PRIMARY KEY AUTOINCREMENT,
        trial TEXT NOT NULL,
        voter TEXT NOT NULL,
        choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'tie', 'skip')),
        time TEXT NOT NULL,
        seconds REAL
    )"""
        )
        db.execute("CREATE INDEX votes_of_a_voter ON votes (voter, trial)")
        db.execute("PRAGMA application_id = 1734700918")
        db.execute("PRAGMA user_version = 1")
        row = trials.id, "2026-01-01", trials.to_json()
        db.execute("INSERT INTO trials (id, added, json) VALUES (?, ?, ?)", row)
    return path


def test_a_file_of_the_first_version_is_voted_in(first_version):
    votes = record_votes(first_version, draw())
    names = [trial.name for trial in votes.trials]
    votes.record(names[0], "ann", "left", seconds=2)
    votes.record(names[1], "bo", "tie")
    assert votes.table["choice"].tolist() == ["left", "tie"]
    assert len(votes.pending("ann")) == 12
    assert len(record_votes(first_version, draw(seed=1, n_trials=4)).trials) > 13


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE votes SET voter = 'zoe' WHERE vote = 2", "votes have other checksums"),
        (
            "UPDATE votes SET choice = 'tie' WHERE vote = 4",
            "votes have other checksums",
        ),
        (
            "UPDATE votes SET seconds = 1.25 WHERE vote = 1",
            "votes have other checksums",
        ),
        ("UPDATE votes SET voter = x'ff00' WHERE vote = 1", "votes have other check"),
        ("DELETE FROM votes WHERE vote = 4", "some of its votes are missing"),
        ("DELETE FROM votes WHERE vote = 2", "votes have other checksums"),
        ("DELETE FROM votes", "some of its votes are missing"),
        ("UPDATE votes SET vote = 9 WHERE vote = 4", "votes have other checksums"),
        ("UPDATE trials SET json = replace(json, '1', '2')", "trials have other check"),
        ("UPDATE trials SET id = 'aaaa'", "trials have other checksums"),
        ("DELETE FROM trials", "some of its trials are missing"),
    ],
)
def test_what_was_changed_by_another_hand_is_told(votes, statement, message):
    for i, trial in enumerate([*votes.trials][:4]):
        votes.record(trial.name, ("ann", "bo")[i % 2], "left", seconds=i)
    assert len(votes.pending("ann")) == 11
    change(votes.path, statement)
    with pytest.raises(ValueError, match=f"a.votes is damaged: .*{message}"):
        Votes(votes.path).table  # noqa: B018


def test_a_statement_without_end_is_ended(votes, monkeypatch):
    endless = "WITH RECURSIVE up(n) AS (SELECT 1 UNION SELECT n + 1 FROM up) "
    monkeypatch.setattr(module, "_MOST_STEPS", 10**5)
    with (
        pytest.raises(OSError, match="cannot be read or written .interrupted"),
        module._opened(votes.path) as db,
    ):
        db.execute(endless + "SELECT count(*) FROM up").fetchall()


FULL = """
import resource, sys
from geoimages.voting import record_votes, Trials
trials = Trials.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
try:
    record_votes(sys.argv[2], trials)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="limits files as Unix does")
def test_a_file_that_could_not_be_made_whole_is_not_there(tmp_path):
    draw().save(tmp_path / "a.json")
    command = [sys.executable, "-c", FULL, tmp_path / "a.json", tmp_path / "a.votes"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cannot be read or written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    votes = record_votes(tmp_path / "a.votes", draw())
    assert len(votes.trials) == 13


def test_of_two_that_make_one_file_both_find_their_trials(tmp_path, monkeypatch):
    path, link = tmp_path / "a.votes", os.link

    def slow(*names):  # another process is faster
        monkeypatch.setattr(os, "link", link)
        record_votes(path, draw(1, n_trials=4, repeats=0))
        link(*names)

    monkeypatch.setattr(os, "link", slow)
    assert len(record_votes(path, draw()).trials) == 17
    assert [file.name for file in tmp_path.iterdir()] == ["a.votes"]


def test_files_that_are_not_there(tmp_path):
    path = tmp_path / "a #1?.votes"
    with pytest.raises(FileNotFoundError, match="draw trials first"):
        record_votes(path)
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        record_votes(tmp_path / "no" / "a.votes", draw())
    with pytest.raises(TypeError, match="what blind_trials returns, got list"):
        record_votes(path, [])
    path.touch()
    with pytest.raises(ValueError, match="is empty; it holds no trials"):
        Votes(path)
    assert len(record_votes(path, draw()).trials) == 13  # of a killed beginning


def test_votes_that_are_none(votes):
    name = next(iter(votes.trials)).name
    with pytest.raises(KeyError, match="'x' is not a trial of a.votes"):
        votes.record("x", "ann", "left")
    with pytest.raises(ValueError, match="choice='l' is not one of left, right"):
        votes.record(name, "ann", "l")
    for voter in ("", " ", None):
        with pytest.raises(ValueError, match="voter must be a name"):
            votes.record(name, voter, "left")
    for seconds in (-1, np.nan, "3"):
        with pytest.raises(ValueError, match="seconds must be 0 or more"):
            votes.record(name, "ann", "left", seconds)
    assert votes.history.empty


def vote_all(votes, voter, choices):
    originals = [trial for trial in votes.trials if not trial.repeat_of]
    for trial, choice in zip(originals, choices, strict=False):
        votes.record(trial.name, voter, choice)
    return originals


def test_triplets_tell_what_the_winner_alone_shows_from_the_rest(votes):
    trials = vote_all(votes, "ann", ["left", "right", "tie", "skip"])
    repeat = next(trial for trial in votes.trials if trial.repeat_of)
    votes.record(repeat.name, "ann", "left")
    triplets, weights = triplets_from_votes(votes)
    assert len(triplets) == 2 * 9
    np.testing.assert_allclose(weights, 1 / 9)
    wanted = set()
    for trial, near, far in (
        (trials[0], trials[0].left, trials[0].right),
        (trials[1], trials[1].right, trials[1].left),
    ):
        wanted |= {(trial.query, a, b) for a in near[1:] for b in far[1:]}
    assert set(map(tuple, triplets.tolist())) == wanted


def test_triplets_drawn_from_each_vote(votes):
    vote_all(votes, "ann", ["left"] * 12)
    queries = [trial.query for trial in votes.trials if not trial.repeat_of]
    for per_vote in (4, 20):
        triplets, weights = triplets_from_votes(
            votes, per_vote=per_vote, random_state=0
        )
        assert triplets[:, 0].tolist() == list(np.repeat(queries, per_vote))
        np.testing.assert_allclose(weights, 1 / per_vote)
    few = triplets_from_votes(votes, per_vote=9, random_state=0)[0]
    assert len(set(map(tuple, few.tolist()))) == 9 * 12  # none drawn twice
    again = triplets_from_votes(votes, per_vote=20, random_state=0)[0]
    np.testing.assert_array_equal(triplets, again)
    for per_vote in (0, 1.5):
        with pytest.raises(ValueError, match="per_vote must be 1 or more"):
            triplets_from_votes(votes, per_vote=per_vote)


def test_an_embedding_learns_from_votes(tmp_path):
    rng = np.random.default_rng(0)
    keys = [f"p{i}" for i in range(60)]
    X = pd.DataFrame(rng.normal(size=(60, 6)), index=keys)
    models = {
        name: PairwiseModel(4, "euclidean").fit(X[columns])
        for name, columns in (("first", [0, 1, 2]), ("last", [3, 4, 5]))
    }
    trials = blind_trials(models, keys, repeats=0, random_state=0)
    votes = record_votes(tmp_path / "a.votes", trials)
    for trial in trials:
        side = "left" if trial.left_model == "first" else "right"
        votes.record(trial.name, "ann", side)
    told = triplets_from_votes(votes)
    weighted = TripletEmbedding(3, random_state=0).fit_triplets(X, *told)
    triplets, _ = triplets_from_votes(votes, per_vote=4, random_state=0)
    embedded = (
        TripletEmbedding(3, random_state=0).fit_triplets(X, triplets).transform(X)
    )
    place = {key: i for i, key in enumerate(keys)}

    def agreement(rows):
        a, b, c = (rows[[place[key] for key in column]] for column in triplets.T)
        near, far = np.linalg.norm(a - b, axis=1), np.linalg.norm(a - c, axis=1)
        return (near < far).mean()

    assert agreement(np.asarray(embedded)) > agreement(X.to_numpy()) + 0.2
    weighted = np.asarray(weighted.transform(X))
    assert agreement(weighted) > agreement(X.to_numpy()) + 0.2
    with pytest.raises(TypeError, match="votes must be Votes, got DataFrame"):
        triplets_from_votes(votes.table)
