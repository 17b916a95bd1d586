"""Trials are balanced, blinded, and come back from a file as they were."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from geoimages import KMeansModel, PairwiseModel, Trials, blind_trials

QUERIES = [f"q{i}" for i in range(40)]


class Answers:
    """Finds what it is told to: `prefix` and a number, or the same as `twin`."""

    def __init__(self, prefix, same_on=(), twin=""):
        self.prefix, self.same_on, self.twin = prefix, set(same_on), twin

    def predict(self, queries, k_candidates=None):
        rows = [
            (query, f"{self.twin if query in self.same_on else self.prefix}{i}")
            for query in queries
            for i in range(k_candidates)
        ]
        index = pd.MultiIndex.from_tuples(rows, names=["query", "key"])
        return pd.DataFrame({"cosine": 0.5}, index=index)


@pytest.fixture
def models():
    return {"one": Answers("x"), "two": Answers("y"), "three": Answers("z")}


def originals(trials):
    table = trials.revealed
    return table[table["repeat_of"] == ""]


def pair_of(row):
    return tuple(sorted([row["left_model"], row["right_model"]]))


@pytest.mark.parametrize(("n_trials", "counts"), [(30, {10}), (32, {10, 11}), (3, {1})])
def test_each_pair_and_each_side_comes_equally_often(models, n_trials, counts):
    trials = blind_trials(models, QUERIES, n_trials=n_trials, random_state=0)
    table = originals(trials)
    assert len(table) == n_trials
    pairs = Counter(pair_of(row) for _, row in table.iterrows())
    assert len(pairs) == 3
    assert set(pairs.values()) == counts
    for pair, n in pairs.items():
        lefts = Counter(
            row["left_model"] for _, row in table.iterrows() if pair_of(row) == pair
        )
        assert abs(lefts[pair[0]] - n / 2) <= 0.5
    # A pair never asks about a query twice.
    asked = [(pair_of(row), row["query"]) for _, row in table.iterrows()]
    assert len(set(asked)) == len(asked)


def test_whoever_stops_early_has_seen_each_pair(models):
    trials = blind_trials(models, QUERIES, repeats=0, random_state=1)
    assert len(trials) == 120
    for stop in (9, 30, 61):
        seen = Counter(
            pair_of(row) for _, row in trials.revealed.iloc[:stop].iterrows()
        )
        assert max(seen.values()) - min(seen.values()) <= 1


def test_each_side_shows_what_its_model_found(models):
    trials = blind_trials(models, QUERIES, k=3, random_state=0)
    for _, row in trials.revealed.iterrows():
        for side in ("left", "right"):
            prefix = models[row[f"{side}_model"]].prefix
            assert row[side] == tuple(f"{prefix}{i}" for i in range(3))


def test_the_draw_follows_its_seed_and_is_random(models):
    one, again, other = (
        blind_trials(models, QUERIES, n_trials=30, random_state=seed)
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(one.revealed, again.revealed)
    assert one.id == again.id != other.id
    first = [
        blind_trials(models, QUERIES, n_trials=3, repeats=0, random_state=i)
        for i in range(60)
    ]
    starts = Counter(next(iter(trials)).left_model for trials in first)
    assert min(starts[name] for name in models) >= 8
    assert len({next(iter(trials)).query for trials in first}) > 20


def test_repeats_come_later_with_sides_swapped(models):
    trials = blind_trials(models, QUERIES, repeats=0.25, random_state=0)
    assert len(trials) == 150
    places = {trial.name: place for place, trial in enumerate(trials)}
    repeats = [trial for trial in trials if trial.repeat_of]
    assert len({trial.repeat_of for trial in repeats}) == 30
    for trial in repeats:
        first = trials[trial.repeat_of]
        assert (trial.left, trial.right) == (first.right, first.left)
        assert trial.left_model == first.right_model
        assert trial.query == first.query
        assert places[trial.name] - places[first.name] > 10
    alone = {"one": models["one"], "two": models["two"]}
    assert len(blind_trials(alone, ["q1"], repeats=1, random_state=0)) == 2


def test_equal_answers_make_no_trial_and_are_counted(models):
    models["two"] = Answers("y", same_on=QUERIES[:10], twin="x")
    trials = blind_trials(models, QUERIES, random_state=0)
    assert trials.pairs.loc[("one", "two")].tolist() == [40, 10]
    assert trials.pairs.loc[("two", "three")].tolist() == [40, 0]
    table = originals(trials)
    both = table[[pair_of(row) == ("one", "two") for _, row in table.iterrows()]]
    assert set(both["query"]) == set(QUERIES[10:])
    assert (table["left"] != table["right"]).all()
    few = originals(blind_trials(models, QUERIES, n_trials=60, random_state=0))
    assert len(few) == 60  # other queries take their place


def test_what_is_shown_hides_the_models(models):
    trials = blind_trials(models, QUERIES, n_trials=6, random_state=0)
    trial = next(iter(trials))
    shown = repr(trials) + repr(trial) + trials.table.to_string()
    assert not any(name in shown for name in ("one", "two", "three"))
    assert list(trials.table) == ["query", "left", "right"]


def test_trials_come_back_from_a_file(models, tmp_path):
    trials = blind_trials(models, QUERIES, n_trials=20, random_state=0)
    trials.save(tmp_path / "a.json")
    back = Trials.load(tmp_path / "a.json")
    pd.testing.assert_frame_equal(back.revealed, trials.revealed)
    pd.testing.assert_frame_equal(back.pairs, trials.pairs)
    assert back.id == trials.id
    assert back.models == ["one", "two", "three"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_files_that_are_no_trials(models, tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError, match="No trials at"):
        Trials.load(path)
    about = json.loads(blind_trials(models, QUERIES, n_trials=3).to_json())
    for text in (
        "{",
        "[1]",
        "{}",
        json.dumps(about | {"format": "x"}),
        json.dumps(about | {"trials": [{"name": "a"}]}),
        json.dumps(about | {"trials": [about["trials"][0] | {"left": [1, 2]}]}),
        json.dumps(about | {"trials": [about["trials"][0] | {"query": None}]}),
        json.dumps(about | {"pairs": [["one", "two", "x", 0]]}),
        "[" * 100_000,
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match="a.json: These are not trials"):
            Trials.load(path)
    path.write_text(json.dumps(about | {"format_version": 2}))
    with pytest.raises(ValueError, match="written by a newer geoimages"):
        Trials.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="a.json"):
        Trials.load(path)


def test_sets_are_joined(models):
    one = blind_trials(models, QUERIES[:20], n_trials=12, random_state=0)
    turned = dict(reversed(models.items()))
    two = blind_trials(turned, QUERIES[20:], n_trials=12, random_state=0)
    both = Trials.joined([one, two])
    assert [trial.name for trial in both] == [t.name for t in (*one, *two)]
    assert len(both.pairs) == 3
    assert both.pairs["queries"].sum() == 24
    assert both.models == one.models


def test_models_of_the_package(rocks):
    models = {
        "pairwise": PairwiseModel().fit(rocks),
        "kmeans": KMeansModel(3, random_state=0).fit(rocks),
        "city": PairwiseModel(dist_metric="cityblock").fit(rocks),
    }
    trials = blind_trials(models, rocks, k=4, n_trials=12, random_state=0)
    for _, row in trials.revealed.iterrows():
        for side in ("left", "right"):
            table = models[row[f"{side}_model"]].predict(row["query"], 4)
            assert row[side] == tuple(table.index)
    keys = np.array(rocks.keys[:5])
    assert set(blind_trials(models, keys, k=4).table["query"]) <= set(keys)
    with pytest.raises(KeyError, match="The model 'pairwise': 'marble' is not a key"):
        blind_trials(models, ["marble"])
    models["kmeans"] = KMeansModel()
    with pytest.raises(NotFittedError, match="The model 'kmeans' is not fitted"):
        blind_trials(models, rocks)


def test_what_cannot_be_drawn(models):
    with pytest.raises(ValueError, match="two or more fitted models by name"):
        blind_trials({"one": models["one"]}, QUERIES)
    with pytest.raises(ValueError, match="two or more .*, got list"):
        blind_trials(list(models.values()), QUERIES)
    with pytest.raises(ValueError, match="must be strings"):
        blind_trials({1: models["one"], 2: models["two"]}, QUERIES)
    with pytest.raises(
        ValueError, match="n_trials=2 must be an integer .* 3,.* to 120"
    ):
        blind_trials(models, QUERIES, n_trials=2)
    with pytest.raises(ValueError, match="n_trials=121"):
        blind_trials(models, QUERIES, n_trials=121)
    with pytest.raises(ValueError, match="repeats must be a share from 0 to 1, got 2"):
        blind_trials(models, QUERIES, repeats=2)
    with pytest.raises(ValueError, match="n_trials=3.5 must be an integer"):
        blind_trials(models, QUERIES, n_trials=3.5)
    with pytest.raises(
        TypeError, match="'two' is not a similarity model; pass one such"
    ):
        blind_trials({"one": models["one"], "two": "kmeans"}, QUERIES)
    for queries in ([], [1, 2], 40, None, pd.DataFrame({"key": QUERIES})):
        with pytest.raises(TypeError, match="queries must be keys"):
            blind_trials(models, queries)
    with pytest.raises(TypeError, match="list of keys, got the string 'q1'"):
        blind_trials(models, "q1")
    with pytest.raises(ValueError, match="identical answers to all 40 queries"):
        blind_trials({"one": Answers("x"), "two": Answers("x")}, QUERIES)

    class Other:
        def predict(self, queries, k_candidates=None):
            return np.zeros(len(queries))

    with pytest.raises(TypeError, match="'other' must give a ranked table"):
        blind_trials(models | {"other": Other()}, QUERIES)
