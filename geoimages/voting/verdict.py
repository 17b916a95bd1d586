"""The result of votes in plain English."""

import math

from scipy.stats import binomtest

from .statistics import votes_needed

_MANY = 100_000  # more votes than anyone will cast


def _percent(share):
    """Format a share in percent, without rounding to 0 or 100 %."""
    extreme = 0 < share < 0.005 or 0.995 < share < 1
    return f"{100 * share:.1f} %" if extreme else f"{100 * share:.0f} %"


def _pair_sentences(pair, row, unit, confidence, power, n_pairs):
    """Yield the sentences on one pair."""
    first, second = pair
    if not row["votes"]:
        needed = votes_needed(
            0.6, confidence=confidence, power=power, comparisons=n_pairs
        )
        yield (
            f"No votes yet on {first} against {second}; to tell a share of 60 % from "
            f"chance takes about {needed:,}."
        )
        return
    better, other = first, second
    share, lower, upper = row["share"], row["lower"], row["upper"]
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
        p = "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"
        yield f"People prefer {better} to {other}: {seen}; sign test {p}."
    else:
        whose = "each" if share == 0.5 else better
        yield f"Too few votes to tell {first} from {second}: {whose} got {seen}."
        more = f"{row['more_needed']:,.0f}"
        more = (
            f"votes on about {more} more queries"
            if unit == "query"
            else f"the votes of about {more} more people"
        )
        yield (
            f"If this is the true preference, {more} will tell "
            f"({100 * (1 - confidence):.3g} % level, {100 * power:.0f} % power)."
            if row["more_needed"] < _MANY
            else "So far they are as good as equal, and no number of votes that people "
            "will cast tells a difference of nothing."
        )
    if row["identical"] > 0:
        yield (
            f"On {_percent(row['identical'])} of the queries the two give the same "
            "answer, which is no trial."
        )


def _ranking_sentence(ranking, n_resamples, confidence):
    parts = [
        f"{place}. {name} ({row['strength']:+.2f}, {row['lower']:+.2f} to "
        f"{row['upper']:+.2f})"
        for place, (name, row) in enumerate(ranking.iterrows(), 1)
    ]
    return (
        f"Ranking by Bradley–Terry log strength, with {100 * confidence:g} % bootstrap "
        f"intervals: {', '.join(parts)}. {ranking.index[0]} leads in "
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
        decided = int(row["votes"] - row["ties"])
        if decided and binomtest(round(row["left"] * decided), decided).pvalue < 0.01:
            yield (
                f"{voter} chose the left side in {_percent(row['left'])} of the decided "
                "votes, more unevenly than chance; sides are balanced, so this blurs "
                "the result and does not shift it."
            )
    for (one, other), row in agreement.iterrows():
        kappa = row["kappa"]
        kappa = "" if math.isnan(kappa) else f" (Cohen's kappa {kappa:.2f})"
        yield (
            f"{one} and {other} answered {_percent(row['same'])} of {row['trials']:.0f} "
            f"common trials the same{kappa}."
        )


def verdict(tables, unit, confidence, power, n_resamples):
    """Describe the four tables of a `Preference`, one line per subject."""
    pairs, ranking, voters, agreement = tables
    lines = [
        " ".join(_pair_sentences(pair, row, unit, confidence, power, len(pairs)))
        for pair, row in pairs.iterrows()
    ]
    if len(ranking) > 2 and ranking["first"].notna().all():
        lines.append(_ranking_sentence(ranking, n_resamples, confidence))
    return "\n".join([*lines, *_voter_sentences(voters, agreement)])
