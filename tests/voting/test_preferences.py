"""What votes say: by hand, against other implementations, and by simulation."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from geoimages import Preference, blind_trials, preference, record_votes, votes_needed
from geoimages.evaluate import wilson_interval
from geoimages.voting import bradley_terry

CHOICE = {1.0: "left", 0.0: "right", 0.5: "tie"}


def make_table(scores, left="one", right="two"):
    """Votes (queries, voters) for the left model: 1, 0, a tie 0.5, a skip NaN."""
    scores = np.asarray(scores, float)
    scores = scores[:, None] if scores.ndim == 1 else scores
    queries, voters = scores.shape
    return pd.DataFrame(
        {
            "trial": np.repeat([f"{left}{right}{i}" for i in range(queries)], voters),
            "query": np.repeat([f"q{i}" for i in range(queries)], voters),
            "voter": np.tile([f"v{i}" for i in range(voters)], queries),
            "choice": [CHOICE.get(score, "skip") for score in scores.ravel()],
            "seconds": 2.0,
            "left_model": left,
            "right_model": right,
            "repeat_of": "",
        }
    )


def counted(wins, ties, losses):
    return make_table([1.0] * wins + [0.5] * ties + [0.0] * losses)


def test_shares_by_hand():
    found = preference(counted(14, 2, 4))
    row = found.pairs.loc[("one", "two")]
    assert row[["votes", "first_won", "ties", "second_won"]].tolist() == [20, 14, 2, 4]
    assert row["share"] == pytest.approx(0.75)
    assert (row["lower"], row["upper"]) == pytest.approx(wilson_interval(0.75, 20))
    assert row["p_value"] == pytest.approx(binomtest(14, 18).pvalue)
    assert row["winner"] == "one"
    assert row["more_needed"] == 0
    assert str(found) == found.verdict
    assert "People prefer one to two: 75 % of 20 votes on 20 queries" in found.verdict
    assert "2 ties counted as half for each" in found.verdict


@pytest.mark.parametrize(
    ("wins", "winners"), [((20, 17, 16), ["a", "a", ""]), ((17, 17, 17), [""] * 3)]
)
def test_tests_are_corrected_for_the_number_of_pairs(wins, winners):
    names = [("a", "b"), ("a", "c"), ("b", "c")]
    pairs = preference(
        pd.concat(
            make_table([1] * n + [0] * (22 - n), *pair)
            for n, pair in zip(wins, names, strict=True)
        )
    ).pairs
    p = [binomtest(n, 22).pvalue for n in wins]
    holm = np.maximum.accumulate([3 * p[0], 2 * p[1], p[2]])
    assert pairs["p_corrected"].tolist() == pytest.approx(holm.tolist())
    assert pairs["winner"].tolist() == winners


def test_sides_do_not_matter():
    left = make_table([1, 1, 1, 0, 0.5])
    right = make_table([0, 0, 0, 1, 0.5], left="two", right="one")
    pd.testing.assert_frame_equal(preference(left).pairs, preference(right).pairs)
    pd.testing.assert_frame_equal(preference(left).ranking, preference(right).ranking)


def test_bradley_terry_agrees_with_logistic_regression():
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 30, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)
    X, weights = [], []
    for i, j in np.argwhere(wins):
        row = np.zeros(4)
        row[i], row[j] = 1, -1
        X.append(row)
        weights.append(wins[i, j])
    # Each win once as won and, with the sign turned, once as lost; hence half of C.
    X, weights = np.array(X), np.array(weights)
    model = LogisticRegression(C=9 / 2, fit_intercept=False, tol=1e-10, max_iter=1000)
    model.fit(np.r_[X, -X], np.repeat([1, 0], len(X)), np.r_[weights, weights])
    np.testing.assert_allclose(bradley_terry(wins), model.coef_[0], atol=1e-5)


def test_bradley_terry_by_hand_and_where_one_wins_all():
    # Of two, the log odds: shrunk a little by the prior.
    few = bradley_terry(np.array([[0, 300], [100, 0]]))
    assert few[0] - few[1] == pytest.approx(np.log(3), abs=0.01)
    all_won = bradley_terry(np.array([[0, 1e4, 1e4], [0, 0, 5], [0, 5, 0]]))
    assert np.isfinite(all_won).all()
    assert all_won[0] > 5
    assert all_won[1] == pytest.approx(all_won[2])
    assert (bradley_terry(np.zeros((3, 3))) == 0).all()
    many = np.random.default_rng(0).integers(0, 5, (7, 3, 3))
    for one, joint in zip(many, bradley_terry(many), strict=True):
        np.testing.assert_allclose(bradley_terry(one), joint, atol=1e-8)


def simulated(rng, p, shape, alike=0.0, ties=0.0):
    """Scores of queries whose own probabilities vary about p."""
    chance = np.full(shape[0], p)
    if alike:
        chance = rng.beta(p * (1 / alike - 1), (1 - p) * (1 / alike - 1), shape[0])
    scores = (rng.random(shape) < chance[:, None]).astype(float)
    scores[rng.random(shape) < ties] = 0.5
    return scores


def pair_rows(rng, n_times, *args, **options):
    for _ in range(n_times):
        table = make_table(simulated(rng, *args, **options))
        yield preference(table, n_resamples=1).pairs.iloc[0]


@pytest.mark.parametrize(
    ("p", "shape", "alike", "ties"),
    [
        (0.5, (30, 1), 0, 0),
        (0.9, (60, 1), 0, 0.2),
        (0.65, (40, 4), 0, 0),
        (0.65, (40, 4), 0.5, 0.1),
    ],
)
def test_intervals_hold_the_true_share_as_often_as_they_say(p, shape, alike, ties):
    rng = np.random.default_rng(0)
    rows = list(pair_rows(rng, 60, p, shape, alike=alike, ties=ties))
    true = p * (1 - ties) + 0.5 * ties
    held = np.mean([row["lower"] <= true <= row["upper"] for row in rows])
    # 60 draws of 0.95: below 0.88 once in a hundred. Ties make it conservative.
    assert held >= 0.88


def test_votes_on_one_query_count_as_alike_as_they_are():
    rng = np.random.default_rng(0)
    together = np.repeat(simulated(rng, 0.6, (50, 1)), 4, axis=1)
    apart = simulated(rng, 0.6, (50, 4))
    wide, narrow = (preference(make_table(s)) for s in (together, apart))
    width = [(f.pairs["upper"] - f.pairs["lower"]).iloc[0] for f in (wide, narrow)]
    assert width[0] > 1.6 * width[1]
    once = preference(make_table(together[:, 0])).pairs.iloc[0]
    same = wide.pairs.iloc[0]
    assert same[["lower", "p_value"]].tolist() == pytest.approx(
        once[["lower", "p_value"]].tolist(), abs=0.004
    )


def test_false_alarms_stay_below_the_level_for_three_pairs_together():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(50):
        table = pd.concat(
            make_table(simulated(rng, 0.5, (40, 2), alike=0.4), *pair)
            for pair in (("a", "b"), ("a", "c"), ("b", "c"))
        )
        alarms += (preference(table, n_resamples=1).pairs["winner"] != "").any()
    assert alarms / 50 <= 0.1  # of 0.05, more once in thirty times


@pytest.mark.parametrize("share", [0.55, 0.6, 0.75, 0.9, 1.0])
def test_the_votes_needed_have_the_power_they_promise(share):
    n = votes_needed(share)

    def power(n):
        k = np.arange(n + 1)
        p = 2 * np.minimum(binom.cdf(k, n, 0.5), binom.sf(k - 1, n, 0.5))
        return binom.pmf(k, n, share)[p < 0.05].sum()

    assert power(n) >= 0.79
    assert power(round(0.8 * n) - 1) < 0.8
    assert votes_needed(1 - share) == n
    assert votes_needed(share, ties=0.5) == pytest.approx(2 * n, abs=1)
    assert votes_needed(share, comparisons=3) > n
    assert votes_needed(share, power=0.95) >= n


def test_more_votes_are_asked_for_and_tell():
    found = preference(counted(13, 2, 7))
    row = found.pairs.iloc[0]
    assert row["winner"] == ""
    assert row["more_needed"] == votes_needed(13 / 20, ties=2 / 22) - 22
    assert "Too few votes to tell one from two: one got 64 % of 22" in found.verdict
    assert f"about {row['more_needed']:.0f} more queries will tell" in found.verdict
    total = 22 + int(row["more_needed"])
    rng = np.random.default_rng(0)
    rows = pair_rows(rng, 80, 13 / 20, (total, 1), ties=2 / 22)
    told = np.mean([row["winner"] == "one" for row in rows])
    assert told == pytest.approx(0.8, abs=0.12)


def test_equal_and_missing_votes_are_said():
    even = preference(counted(10, 0, 10))
    assert even.pairs["more_needed"].iloc[0] == np.inf
    assert "as good as equal" in even.verdict
    tied = preference(counted(0, 8, 0)).pairs.iloc[0]
    assert np.isnan(tied["p_value"])
    assert (tied["share"], tied["winner"]) == (0.5, "")
    three = pd.concat([counted(3, 0, 3), make_table([1, 0], "one", "three")])
    found = preference(three)
    assert found.pairs.loc[("three", "two"), "votes"] == 0
    assert "No votes yet on three against two" in found.verdict
    skipped = preference(make_table([np.nan, np.nan]))
    assert skipped.pairs["votes"].iloc[0] == 0
    assert skipped.voters.loc["v0", "skips"] == 2
    assert skipped.ranking["lower"].isna().all()
    single = preference(make_table([1.0]))
    assert single.ranking["lower"].isna().all()
    assert "Too few votes to tell" in single.verdict


def tournament(rng, strengths, n):
    names = [f"m{i}" for i in range(len(strengths))]
    tables = [
        make_table(
            rng.random(n) < 1 / (1 + np.exp(strengths[j] - strengths[i])),
            names[i],
            names[j],
        )
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]
    return pd.concat(tables)


def test_the_ranking_finds_known_strengths():
    rng = np.random.default_rng(0)
    strengths = np.array([-1.0, -0.2, 0.2, 1.0])
    table = tournament(rng, strengths, 1500)
    found = preference(table, n_resamples=200)
    assert found.ranking.index.tolist() == ["m3", "m2", "m1", "m0"]
    np.testing.assert_allclose(found.ranking["strength"], strengths[::-1], atol=0.15)
    assert found.ranking.loc["m3", "first"] == 1
    assert (found.pairs["winner"] == ["m1", "m2", "m3", "m2", "m3", "m3"]).all()
    assert "1. m3 (" in found.verdict
    assert "m3 leads in 100 % of 200" in found.verdict


def test_intervals_of_the_ranking_hold_the_true_strengths():
    rng = np.random.default_rng(0)
    strengths, held = np.array([-0.8, 0.0, 0.8]), []
    for _ in range(40):
        table = tournament(rng, strengths, 60)
        ranking = preference(table, n_resamples=200).ranking.sort_index()
        held.append((ranking["lower"] <= strengths) & (strengths <= ranking["upper"]))
    assert 0.88 <= np.mean(held) <= 0.99


def test_other_voters_may_be_what_it_is_to_hold_for():
    # Everybody is sure of an opinion of his own.
    scores = np.tile([1, 1, 1, 0.0], (60, 1))
    by_query, by_voter = (
        preference(make_table(scores), unit=unit) for unit in ("query", "voter")
    )
    assert by_query.pairs["winner"].iloc[0] == "one"
    assert by_voter.pairs["winner"].iloc[0] == ""
    assert by_voter.pairs["lower"].iloc[0] < 0.5 < by_query.pairs["lower"].iloc[0]
    assert "more people will tell" in by_voter.verdict


def test_repeats_measure_consistency_and_nothing_else():
    table = make_table([1, 1, 0, 0.5, np.nan])
    again = table.assign(
        trial=table["trial"] + "again",
        repeat_of=table["trial"],
        left_model="two",
        right_model="one",
        # Swapped: the same, another, the same, the same, no first answer.
        choice=["right", "left", "left", "tie", "left"],
    )
    both = preference(pd.concat([table, again]))
    pd.testing.assert_frame_equal(both.pairs, preference(table).pairs)
    row = both.voters.loc["v0"]
    assert row["repeats"] == 4
    assert row["consistent"] == 0.75
    assert (row["votes"], row["ties"], row["skips"]) == (4, 1, 1)
    assert "v0 answered 3 of 4 repeated trials as the first time." in both.verdict


def test_a_voter_who_prefers_a_side_is_told():
    table = make_table([1] * 20)
    table.loc[::2, ["left_model", "right_model"]] = ["two", "one"]
    found = preference(table)
    assert found.pairs["share"].iloc[0] == 0.5
    assert found.voters.loc["v0", "left"] == 1
    assert "v0 chose the left side in 100 % of the decided votes" in found.verdict


def test_agreement_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.choice([0, 0.5, 1], (50, 3))
    scores[:10, 1] = np.nan
    found = preference(make_table(scores)).agreement
    row = found.loc[("v0", "v1")]
    a, b = (scores[10:, :2] * 2).astype(int).T
    assert row["trials"] == 40
    assert row["same"] == pytest.approx((a == b).mean())
    assert row["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert found.index.tolist() == [("v0", "v1"), ("v0", "v2"), ("v1", "v2")]
    constant = preference(make_table(np.ones((5, 2)))).agreement
    assert constant["same"].iloc[0] == 1
    assert np.isnan(constant["kappa"].iloc[0])


def test_votes_of_a_file(tmp_path):
    class Answers:
        def __init__(self, prefix):
            self.prefix = prefix

        def predict(self, queries, k_candidates=None):
            rows = [
                (query, "same" if query in ("q0", "q1") else f"{self.prefix}{i}")
                for query in queries
                for i in range(k_candidates)
            ]
            index = pd.MultiIndex.from_tuples(rows, names=["query", "key"])
            return pd.DataFrame({"cosine": 0.0}, index=index)

    models = {"plain": Answers("x"), "good": Answers("y")}
    trials = blind_trials(models, [f"q{i}" for i in range(20)], random_state=0)
    votes = record_votes(tmp_path / "a.votes", trials)
    empty = preference(votes)
    assert "No votes yet on plain against good" in empty.verdict
    for trial in trials:
        side = "left" if trial.left_model == "good" else "right"
        votes.record(trial.name, "ann", side, 3.0)
    found = preference(votes)
    assert isinstance(found, Preference)
    row = found.pairs.loc[("plain", "good")]
    assert (row["votes"], row["share"], row["winner"]) == (18, 0, "good")
    assert row["identical"] == 0.1
    assert "On 10 % of the queries the two give the same answer" in found.verdict
    assert found.voters.loc["ann", "consistent"] == 1
    third = {"third": Answers("z"), "good": Answers("y")}
    record_votes(votes.path, blind_trials(third, ["q5", "q6"], random_state=0))
    identical = preference(votes).pairs["identical"]
    assert identical["plain", "good"] == 0.1
    assert identical["good", "third"] == 0
    assert np.isnan(identical["plain", "third"])
    about = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert about["pairs"][0]["winner"] == "good"
    assert about["verdict"] == found.verdict


def test_what_cannot_be_told(tmp_path):
    table = counted(3, 0, 3)
    for options, message in (
        ({"unit": "class"}, "unit must be 'query' or 'voter', got 'class'"),
        ({"confidence": 95}, "confidence must be between 0 and 1, got 95"),
        ({"power": 0}, "power must be between 0 and 1, got 0"),
        ({"n_resamples": 0}, "n_resamples must be 1 or more, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            preference(table, **options)
    with pytest.raises(ValueError, match="holds no votes"):
        preference(table.iloc[:0])
    with pytest.raises(ValueError, match="needs the columns .*; choice is missing"):
        preference(table.drop(columns="choice"))
    with pytest.raises(ValueError, match="choice='up' is not one of left, right, tie"):
        preference(table.assign(choice="up"))
    with pytest.raises(TypeError, match="votes must be Votes or a table .*, got str"):
        preference("rocks.votes")
    with pytest.raises(ValueError, match="comparisons must be 1 or more, got 0"):
        votes_needed(0.6, comparisons=0)
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 60"):
        votes_needed(60)
    with pytest.raises(ValueError, match="ties must be from 0 to below 1"):
        votes_needed(0.6, ties=1)
    assert votes_needed(0.5) == np.inf
