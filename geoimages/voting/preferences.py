"""Analysis of votes: shares, a ranking, and the number of votes needed."""

import json
import math
from dataclasses import dataclass, fields
from html import escape
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score
from sklearn.utils import check_random_state

from ..evaluate import holm, wilson_interval
from .statistics import bradley_terry, votes_needed
from .verdict import verdict
from .votes import CHOICES, Votes

_NEEDED = (
    *("trial", "query", "voter", "choice", "seconds"),
    *("left_model", "right_model", "repeat_of"),
)


@dataclass(frozen=True, repr=False)
class Preference:
    """Result of `preference`.

    Attributes
    ----------
    pairs : DataFrame
        Index (first, second). ``votes`` counted (without skips and repeats),
        ``first_won``, ``ties``, ``second_won``, ``queries``; ``share`` of the votes for
        the first, ties as half; ``lower`` and ``upper``, its Wilson interval;
        ``p_value`` of the sign test and ``p_corrected`` (Holm); ``winner``, empty if
        not significant; ``more_needed``, the number of further queries, with as many
        votes each as so far, to make the observed share significant; ``identical``, the
        share of the queries with identical answers (NaN if the trials are not known).
    ranking : DataFrame
        Index ``model``, best first. ``strength``, the log odds against an average
        model; ``lower`` and ``upper``, its bootstrap interval; ``won``, the probability
        of winning a vote against an average model; ``first``, the share of the
        bootstrap samples in which it leads.
    voters : DataFrame
        Index ``voter``. ``votes``, ``ties``, ``skips``; ``left``, the share of the
        decided votes for the left side (a half is expected); ``repeats`` answered and
        ``consistent``, the share of them answered the same; ``seconds``, the median.
    agreement : DataFrame
        Index (voter, other). ``trials`` answered by both, ``same``, the share answered
        the same, and Cohen's ``kappa`` (0 is chance; NaN if neither varies).
    verdict : str
        Summary in plain English.
    """

    pairs: pd.DataFrame
    ranking: pd.DataFrame
    voters: pd.DataFrame
    agreement: pd.DataFrame
    verdict: str

    def __str__(self):
        return self.verdict

    __repr__ = __str__

    def _repr_html_(self):
        tables = self.pairs, self.ranking
        html = "".join(table.to_html(float_format="%.3f") for table in tables)
        return f"<p><b>{escape(self.verdict)}</b></p>{html}"

    def as_dict(self):
        """Return all tables as JSON-serializable data.

        Returns
        -------
        about : dict
        """
        about = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, table in about.items():
            if isinstance(table, pd.DataFrame):
                rows = table.reset_index().to_json(
                    orient="records", double_precision=15
                )
                about[name] = json.loads(rows)
        return about


def _read(votes):
    """Return (table of the counting votes, models in order, pairs of the trials)."""
    if isinstance(votes, pd.DataFrame):
        missing = [name for name in _NEEDED if name not in votes]
        if missing:
            raise ValueError(
                f"A table of votes needs the columns {', '.join(_NEEDED)}, as in "
                f"Votes.table; {', '.join(missing)} is missing."
            )
        unknown = votes["choice"][~votes["choice"].isin(CHOICES)]
        if len(unknown):
            raise ValueError(
                f"choice={unknown.iloc[0]!r} is not one of {', '.join(CHOICES)}."
            )
        names = np.ravel(votes[["left_model", "right_model"]].to_numpy())
        return votes, sorted(set(names.tolist())), None
    if not isinstance(votes, Votes):
        raise TypeError(
            f"votes must be Votes or a table of them, got {type(votes).__name__}; "
            "record_votes(path) opens a file."
        )
    trials = votes.trials
    return votes.table, trials.models, trials.pairs


def _oriented(table, models):
    """Add ``first``, ``second`` and ``score``, 1 where the first won and ½ a tie."""
    left, right = (
        table[f"{side}_model"].map(models.index) for side in ("left", "right")
    )
    score = table["choice"].map({"left": 1.0, "right": 0.0, "tie": 0.5, "skip": np.nan})
    return table.assign(
        first=np.minimum(left, right).astype(int),
        second=np.maximum(left, right).astype(int),
        score=score.where(left < right, 1 - score),
    )


def _independent(score, group):
    """Effective number of independent votes (a design effect).

    Votes on one query are correlated, so their share varies more than that of as many
    queries; the result is between the number of groups and the number of votes.
    """
    n, share = len(score), score.mean()
    off = (score - share).groupby(group.to_numpy()).sum()
    groups = len(off)
    spread = (off**2).sum() / n**2 * groups / max(groups - 1, 1)
    if spread <= 0:
        return groups
    return float(np.clip(share * (1 - share) / spread, groups, n))


def _pair_row(votes, unit, confidence, power, n_pairs):
    """What the votes on one pair say, but for the correction."""
    score = votes["score"]
    row = {
        "votes": len(score),
        "first_won": int((score == 1).sum()),
        "ties": int((score == 0.5).sum()),
        "second_won": int((score == 0).sum()),
        "queries": votes["query"].nunique(),
        "share": score.mean() if len(score) else math.nan,
    }
    worth = _independent(score, votes[unit]) if len(score) else 0
    row["lower"], row["upper"] = wilson_interval(row["share"], worth, confidence)
    # One sign for each query: votes on the same one are not independent.
    net = (score - 0.5).groupby(votes[unit].to_numpy()).sum()
    won, lost = int((net > 0).sum()), int((net < 0).sum())
    decided = won + lost
    row["p_value"] = binomtest(won, decided).pvalue if decided else math.nan
    row["needed"] = math.inf
    if decided:
        row["needed"] = votes_needed(
            won / decided,
            ties=1 - decided / len(net),
            confidence=confidence,
            power=power,
            comparisons=n_pairs,
        )
    row["units"] = len(net)
    row["ahead"] = np.sign(won - lost)
    return row


def _pairs_table(votes, models, unit, confidence, power, looked):
    pairs = list(combinations(range(len(models)), 2))
    groups = dict(list(votes.groupby(["first", "second"])))
    nothing = votes.iloc[:0]
    rows = [
        _pair_row(groups.get(pair, nothing), unit, confidence, power, len(pairs))
        for pair in pairs
    ]
    names = [(models[i], models[j]) for i, j in pairs]
    table = pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(names))
    table = table.rename_axis(["first", "second"]).assign(p_corrected=math.nan)
    tested = table["p_value"].notna()
    table.loc[tested, "p_corrected"] = holm(table.loc[tested, "p_value"])
    # The majorities of votes and of queries must agree.
    clear = (table["p_corrected"] < 1 - confidence) & (
        table["ahead"] == np.sign(table["share"] - 0.5)
    )
    table["winner"] = np.where(
        clear, np.where(table["ahead"] > 0, *np.transpose(names)), ""
    )
    more = np.maximum(table["needed"] - table["units"], 1)
    table["more_needed"] = np.where(clear, 0.0, more)
    table["identical"] = [_identical(name, looked) for name in names]
    return table.drop(columns=["needed", "units", "ahead"])


def _identical(pair, looked):
    """Share of the queries to which two models gave identical answers."""
    if looked is None:
        return math.nan
    for name in (pair, pair[::-1]):
        if name in looked.index:
            return looked.loc[name, "identical"] / max(looked.loc[name, "queries"], 1)
    return math.nan


def _wins(votes, m, unit):
    """Wins by unit: (units, m, m), of row over column, ties as half."""
    codes, names = pd.factorize(votes[unit])
    wins = np.zeros((len(names), m, m))
    first, second, score = votes["first"], votes["second"], votes["score"]
    np.add.at(wins, (codes, first, second), score)
    np.add.at(wins, (codes, second, first), 1 - score)
    return wins


def _ranking_table(votes, models, unit, confidence, n_resamples, rng):
    m = len(models)
    wins = _wins(votes, m, unit)
    strength = bradley_terry(wins.sum(axis=0))
    lower = upper = first = np.full(m, np.nan)
    if len(wins) > 1:
        units = len(wins)
        times = rng.multinomial(units, np.full(units, 1 / units), size=n_resamples)
        samples = bradley_terry(np.tensordot(times, wins, axes=1))
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        lower, upper = np.quantile(samples, tails, axis=0)
        leads = samples >= samples.max(axis=1, keepdims=True) - 1e-9
        first = (leads / leads.sum(axis=1, keepdims=True)).mean(axis=0)
    table = pd.DataFrame(
        {
            "strength": strength,
            "lower": lower,
            "upper": upper,
            "won": (expit(strength[:, None] - strength).sum(axis=1) - 0.5) / (m - 1),
            "first": first,
        },
        index=pd.Index(models, name="model"),
    )
    return table.sort_values("strength", ascending=False, kind="stable")


def _voters_table(table):
    answers = table.set_index(["voter", "trial"])["score"]
    rows = {}
    for voter, own in table.groupby("voter"):
        shown = own[own["repeat_of"] == ""]
        sided = own["choice"][own["choice"].isin(["left", "right"])]
        again = own[own["repeat_of"] != ""].dropna(subset="score")
        before = answers.reindex([(voter, name) for name in again["repeat_of"]])
        both = before.notna().to_numpy()
        same = again["score"].to_numpy()[both] == before.to_numpy()[both]
        rows[voter] = {
            "votes": int(shown["score"].notna().sum()),
            "ties": int((shown["choice"] == "tie").sum()),
            "skips": int((shown["choice"] == "skip").sum()),
            "left": (sided == "left").mean() if len(sided) else math.nan,
            "repeats": len(same),
            "consistent": same.mean() if len(same) else math.nan,
            "seconds": own["seconds"].median(),
        }
    columns = ["votes", "ties", "skips", "left", "repeats", "consistent", "seconds"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.rename_axis("voter")


def _agreement_table(votes):
    answers = votes.pivot_table(index="trial", columns="voter", values="score")
    rows = {}
    for one, other in combinations(answers.columns, 2):
        both = (answers[[one, other]].dropna() * 2).astype(int).to_numpy()
        if len(both):
            varies = len(np.unique(both)) > 1
            rows[one, other] = {
                "trials": len(both),
                "same": (both[:, 0] == both[:, 1]).mean(),
                "kappa": cohen_kappa_score(*both.T) if varies else math.nan,
            }
    index = pd.MultiIndex.from_tuples(rows, names=["voter", "other"])
    columns = ["trials", "same", "kappa"]
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def preference(
    votes, *, unit="query", confidence=0.95, power=0.8, n_resamples=2000, random_state=0
):
    """Estimate from votes which model people prefer.

    A tie is half a vote for each. Skips and repeats do not count; of several votes by
    a voter on a trial, the last counts. Votes on one query are correlated, so the query
    is the sampling unit: a Wilson interval on the effective number of votes (a design
    effect), a sign test on which model got more votes for each query, corrected for
    the number of pairs (Holm), and a bootstrap over queries for the Bradley–Terry
    ranking.

    Parameters
    ----------
    votes : Votes or DataFrame
        The votes, or a table like `Votes.table`.
    unit : {"query", "voter"}, default="query"
        The population to generalize to: other queries judged by these voters, or other
        voters judging these queries. The latter needs many voters.
    confidence : float, default=0.95
        Confidence level of the intervals, and 1 − the level of the tests.
    power : float, default=0.8
        Power of the test, for the number of votes needed.
    n_resamples : int, default=2000
        Number of bootstrap samples of the ranking. Its intervals are approximate, and
        somewhat narrow, below about 30 queries.
    random_state : int, RandomState or None, default=0
        Seed of the bootstrap.

    Returns
    -------
    preference : Preference
        Tables ``pairs``, ``ranking``, ``voters`` and ``agreement``, and the
        ``verdict``, which `print` shows.

    Raises
    ------
    TypeError
        If `votes` is neither.
    ValueError
        If an option is unknown or out of range, or a table has no votes or lacks a
        column.

    References
    ----------
    Korn and Graubard (1998). Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data. Survey Methodology 24.

    Davidson and Farquhar (1976). A bibliography on the method of paired comparisons.
    Biometrics 32.

    Examples
    --------
    >>> import pandas as pd
    >>> from geoimages import preference
    >>> table = pd.DataFrame({
    ...     "trial": range(20), "query": range(20), "voter": "ann",
    ...     "choice": ["left"] * 17 + ["right"] * 3, "seconds": 3.0,
    ...     "left_model": "new", "right_model": "old", "repeat_of": "",
    ... })
    >>> print(preference(table))
    People prefer new to old: 85 % of 20 votes on 20 queries (95 % interval 64–95 %);
    sign test p = 0.0026.
    ann chose the left side in 85 % of the decided votes, more unevenly than chance;
    sides are balanced, so this blurs the result and does not shift it.
    """
    if unit not in ("query", "voter"):
        raise ValueError(f"unit must be 'query' or 'voter', got {unit!r}.")
    for name, value in (("confidence", confidence), ("power", power)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be 1 or more, got {n_resamples!r}.")
    table, models, looked = _read(votes)
    if len(models) < 2:
        raise ValueError("The table holds no votes on two models.")
    table = _oriented(table, models)
    counting = table[(table["repeat_of"] == "") & table["score"].notna()]
    rng = check_random_state(random_state)
    pairs = _pairs_table(counting, models, unit, confidence, power, looked)
    ranking = _ranking_table(counting, models, unit, confidence, n_resamples, rng)
    voters, agreement = _voters_table(table), _agreement_table(counting)
    tables = pairs, ranking, voters, agreement
    text = verdict(tables, unit, confidence, power, n_resamples)
    return Preference(*tables, text)
