"""What people's votes say: shares, a ranking, and how many more votes it takes."""

import math
from dataclasses import dataclass
from html import escape
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binomtest, norm
from sklearn.metrics import cohen_kappa_score
from sklearn.utils import check_random_state

from ..evaluate.statistics import holm, wilson_interval
from .votes import CHOICES, Votes

_PRIOR_SPREAD = 3.0  # standard deviation of a log strength, a weak prior
_MANY = 100_000  # votes nobody will cast
_NEEDED = (
    *("trial", "query", "voter", "choice", "seconds"),
    *("left_model", "right_model", "repeat_of"),
)


def votes_needed(share, *, ties=0.0, confidence=0.95, power=0.8, comparisons=1):
    """Return how many votes it takes to tell a preference from chance.

    Parameters
    ----------
    share : float
        The true share of the decided votes that goes to one model, 0–1.
    ties : float, default=0.0
        Share of the votes that are ties, below 1.
    confidence : float, default=0.95
        One less the chance of a false alarm of the two-sided sign test.
    power : float, default=0.8
        Chance of finding the preference.
    comparisons : int, default=1
        Pairs of models tested at once, each at a stricter level (Bonferroni).

    Returns
    -------
    n : int or inf
        Votes, ties counted in. Infinite for a share of a half.

    References
    ----------
    Fleiss, Levin and Paik (2003). Statistical methods for rates and proportions, 3rd
    edition, chapter 2: the normal approximation with its correction for continuity.

    Examples
    --------
    >>> votes_needed(0.6), votes_needed(0.75)
    (204, 33)
    """
    for name, value in (("share", share), ("confidence", confidence), ("power", power)):
        if not 0 <= value <= 1 or (name != "share" and value in (0, 1)):
            raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")
    if not 0 <= ties < 1:
        raise ValueError(f"ties must be from 0 to below 1, got {ties!r}.")
    if comparisons < 1:
        raise ValueError(f"comparisons must be 1 or more, got {comparisons!r}.")
    off = abs(share - 0.5)
    if off < 1e-9:
        return math.inf
    z_level = norm.isf((1 - confidence) / 2 / comparisons)
    z_power = norm.isf(1 - power)
    n = ((z_level * 0.5 + z_power * math.sqrt(share * (1 - share))) / off) ** 2
    n *= (1 + math.sqrt(1 + 2 / (n * off))) ** 2 / 4
    return math.ceil(n / (1 - ties) - 1e-9)


def bradley_terry(wins):
    """Fit log strengths: wins (..., m, m), of row over column -> (..., m), mean 0.

    Ties are half a win for each. A weak normal prior (mean 0, standard deviation 3)
    keeps a model that won everything finite.

    References
    ----------
    Bradley and Terry (1952). Rank analysis of incomplete block designs. Biometrika 39.
    """
    wins = np.asarray(wins, float)
    played = wins + np.swapaxes(wins, -1, -2)
    m = wins.shape[-1]
    precision = 1 / _PRIOR_SPREAD**2
    theta = np.zeros(wins.shape[:-1])
    for _ in range(200):
        p = expit(theta[..., :, None] - theta[..., None, :])
        slope = (wins - played * p).sum(-1) - precision * theta
        weight = played * p * (1 - p)
        curve = -weight
        curve[..., range(m), range(m)] = weight.sum(-1) + precision
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        # Newton's step, kept short where the curve is flat.
        theta = theta + step / np.maximum(1, np.abs(step).max(-1, keepdims=True) / 2)
        if np.abs(step).max(initial=0) < 1e-9:
            break
    return theta - theta.mean(-1, keepdims=True)


@dataclass(frozen=True, repr=False)
class Preference:
    """What votes say; made by `preference`.

    Attributes
    ----------
    pairs : DataFrame
        Index (first, second). ``votes`` that count (skips and repeats do not),
        ``first_won``, ``ties``, ``second_won``, ``queries``; ``share``, the part of
        the votes for the first, ties as half; ``lower`` and ``upper``, its Wilson
        interval; ``p_value`` of the sign test and ``p_corrected`` (Holm); ``winner``,
        empty where it cannot be told; ``more_needed``, the further queries to vote on,
        each as often as so far, to tell the share seen from chance; ``identical``, the
        share of the queries on which both models gave the same answer (NaN where the
        trials are not known).
    ranking : DataFrame
        Index ``model``, best first. ``strength``, the log odds against an average
        rival; ``lower`` and ``upper``, its bootstrap interval; ``won``, the chance of
        winning a vote against an average rival; ``first``, the share of the bootstrap
        samples in which it leads.
    voters : DataFrame
        Index ``voter``. ``votes``, ``ties``, ``skips``; ``left``, the share of the
        decided votes for the left side (a half is expected); ``repeats`` answered and
        ``consistent``, the share answered as the first time; ``seconds``, the median.
    agreement : DataFrame
        Index (voter, other). ``trials`` both answered, ``same``, the share answered
        the same, and Cohen's ``kappa`` (0 is chance; NaN where neither varies).
    verdict : str
        All that in plain English.
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
        """Return everything as lists and numbers, fit for JSON.

        Returns
        -------
        about : dict
        """
        tables = ("pairs", "ranking", "voters", "agreement")
        about = {
            name: [
                {column: _plain(value) for column, value in row.items()}
                for row in getattr(self, name).reset_index().to_dict("records")
            ]
            for name in tables
        }
        return about | {"verdict": self.verdict}


def _plain(value):
    value = value.item() if isinstance(value, np.generic) else value
    unclear = isinstance(value, float) and not math.isfinite(value)
    return None if unclear else value


def _read(votes):
    """Return (table of the counting votes, models in order, pairs of the trials)."""
    if isinstance(votes, pd.DataFrame):
        missing = [name for name in _NEEDED if name not in votes]
        if missing:
            raise ValueError(
                f"A table of votes has the columns {', '.join(_NEEDED)}, as Votes.table "
                f"has; {', '.join(missing)} is missing."
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
    place = {name: i for i, name in enumerate(models)}
    left, right = (table[f"{side}_model"].map(place) for side in ("left", "right"))
    score = table["choice"].map({"left": 1.0, "right": 0.0, "tie": 0.5, "skip": np.nan})
    turned = left > right
    return table.assign(
        first=np.where(turned, right, left).astype(int),
        second=np.where(turned, left, right).astype(int),
        score=np.where(turned, 1 - score, score),
    )


def _independent(score, group):
    """How many independent votes the grouped ones are worth.

    Votes on one query are alike, so their share varies more than that of as many
    queries; never fewer than the groups, never more than the votes.
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
    # More votes and more queries must speak for the same model.
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
    """Share of the queries on which two models gave the same answer."""
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
    first, second, score = (
        votes[name].to_numpy() for name in ("first", "second", "score")
    )
    np.add.at(wins, (codes, first, second), score)
    np.add.at(wins, (codes, second, first), 1 - score)
    return wins


def _bootstrap(wins, n_resamples, rng):
    """Strengths of samples of units drawn with replacement: (n_resamples, m)."""
    units, m, _ = wins.shape
    flat = wins.reshape(units, m * m)
    found = []
    block = max(1, 2_000_000 // max(units, 1))
    for start in range(0, n_resamples, block):
        size = min(block, n_resamples - start)
        times = rng.multinomial(units, np.full(units, 1 / units), size=size)
        found.append(bradley_terry((times @ flat).reshape(size, m, m)))
    return np.concatenate(found)


def _ranking_table(votes, models, unit, confidence, n_resamples, rng):
    m = len(models)
    wins = _wins(votes, m, unit)
    strength = bradley_terry(wins.sum(axis=0))
    lower = upper = first = np.full(m, np.nan)
    if len(wins) > 1:
        samples = _bootstrap(wins, n_resamples, rng)
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        lower, upper = np.quantile(samples, tails, axis=0)
        leads = samples >= samples.max(axis=1, keepdims=True) - 1e-9
        first = (leads / leads.sum(axis=1, keepdims=True)).mean(axis=0)
    table = pd.DataFrame(
        {
            "strength": strength,
            "lower": lower,
            "upper": upper,
            "won": [
                expit(strength[i] - np.delete(strength, i)).mean() for i in range(m)
            ],
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


def _percent(share):
    """A share as people write it: never 0 or 100 % of what is neither."""
    near = 0 < share < 0.005 or 0.995 < share < 1
    return f"{100 * share:.1f} %" if near else f"{100 * share:.0f} %"


def _pair_sentences(pair, row, unit, confidence, power, n_pairs):
    """What is said of one pair."""
    first, second = pair
    if not row["votes"]:
        wanted = votes_needed(
            0.6, confidence=confidence, power=power, comparisons=n_pairs
        )
        yield (
            f"No votes yet on {first} against {second}; to tell a share of 60 % from "
            f"chance takes about {wanted:,}."
        )
        return
    better, share, lower, upper = first, row["share"], row["lower"], row["upper"]
    other = second
    if share < 0.5:
        better, other = second, first
        share, lower, upper = 1 - share, 1 - upper, 1 - lower
    ties = ""
    if row["ties"]:
        ties = f", {row['ties']:,} {'tie' if row['ties'] == 1 else 'ties'} counted as "
        ties += "half for each"
    seen = (
        f"{_percent(share)} of {row['votes']:,} votes on {row['queries']:,} queries "
        f"({100 * confidence:g} % interval {100 * lower:.0f}–{100 * upper:.0f} %{ties})"
    )
    if row["winner"]:
        p = row["p_corrected"]
        told = "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"
        yield f"People prefer {better} to {other}: {seen}; sign test {told}."
    else:
        whose = "each" if share == 0.5 else better
        yield f"Too few votes to tell {first} from {second}: {whose} got {seen}."
        more = row["more_needed"]
        wanted = (
            "votes on about {} more queries"
            if unit == "query"
            else "the votes of about {} more people"
        )
        if more < _MANY:
            yield (
                "If what was seen is the true preference, "
                f"{wanted.format(f'{more:,.0f}')} will tell "
                f"({100 * (1 - confidence):.3g} % level, {100 * power:.0f} % power)."
            )
        else:
            yield (
                "So far they are as good as equal, and no number of votes that people "
                "will cast tells a difference of nothing."
            )
    if row["identical"] > 0:
        yield (
            f"On {_percent(row['identical'])} of the queries the two give the same "
            "answer, which nobody was asked about."
        )


def _ranking_sentence(ranking, n_resamples, confidence):
    parts = [
        f"{place}. {name} ({row['strength']:+.2f}, {row['lower']:+.2f} to "
        f"{row['upper']:+.2f})"
        for place, (name, row) in enumerate(ranking.iterrows(), 1)
    ]
    leader = ranking.index[0]
    return (
        f"Ranking by Bradley–Terry log strength, with {100 * confidence:g} % bootstrap "
        f"intervals: {', '.join(parts)}. {leader} leads in "
        f"{_percent(ranking['first'].iloc[0])} of {n_resamples:,} bootstrap samples."
    )


def _voter_sentences(voters, agreement):
    for voter, row in voters.iterrows():
        if row["repeats"]:
            agreed = round(row["consistent"] * row["repeats"])
            yield (
                f"{voter} answered {agreed:.0f} of {row['repeats']:.0f} repeated trials "
                "as the first time."
            )
        decided = row["votes"] - row["ties"]
        if (
            decided
            and binomtest(round(row["left"] * decided), int(decided)).pvalue < 0.01
        ):
            yield (
                f"{voter} chose the left side in {_percent(row['left'])} of the decided "
                "votes, more unevenly than chance; sides are balanced, so this blurs "
                "the result and does not shift it."
            )
    for (one, other), row in agreement.iterrows():
        kappa = (
            "" if math.isnan(row["kappa"]) else f" (Cohen's kappa {row['kappa']:.2f})"
        )
        yield (
            f"{one} and {other} answered {_percent(row['same'])} of {row['trials']:.0f} "
            f"common trials the same{kappa}."
        )


def preference(
    votes, *, unit="query", confidence=0.95, power=0.8, n_resamples=2000, random_state=0
):
    """Tell from votes which model people prefer, and how sure that is.

    A tie is half a vote for each. Skips and repeats do not count here; each voter's
    last vote on a trial does. Votes on one query are alike, so intervals and tests take
    the query as the unit: a Wilson interval on as many independent votes as the votes
    are worth (a design effect), a sign test on which model got more votes of each
    query, corrected for the number of pairs (Holm), and a bootstrap over queries for
    the Bradley–Terry ranking.

    Parameters
    ----------
    votes : Votes or DataFrame
        The votes, or a table like `Votes.table`.
    unit : {"query", "voter"}, default="query"
        What the answer is to hold for: other queries like these, judged by these
        voters, or other voters like these, judging these queries. The latter takes many
        voters.
    confidence : float, default=0.95
        Of the intervals, and one less the level of the tests.
    power : float, default=0.8
        Chance of finding a preference, for the number of votes that are needed.
    n_resamples : int, default=2000
        Bootstrap samples of the ranking. Its intervals are rough, and somewhat narrow,
        below about 30 queries.
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
        If an option is unknown or out of range, or a table holds no votes or lacks a
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
        raise ValueError(f"unit is 'query' or 'voter', got {unit!r}.")
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
    lines = [
        " ".join(_pair_sentences(pair, row, unit, confidence, power, len(pairs)))
        for pair, row in pairs.iterrows()
    ]
    if len(models) > 2 and ranking["first"].notna().all():
        lines.append(_ranking_sentence(ranking, n_resamples, confidence))
    lines += _voter_sentences(voters, agreement)
    return Preference(pairs, ranking, voters, agreement, "\n".join(lines))
