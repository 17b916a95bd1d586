"""The verdict of a comparison in plain English."""


def _chance(p_value):
    if p_value < 0.001:
        return "by chance less than once in 1,000 times"
    if p_value > 0.5:
        return "by chance more often than not"
    return f"by chance about once in {1 / p_value:.0f} times"


def _listed(parts):
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)


def _written(*values):
    """Differences to three decimals, or more where one would be 0.000."""
    digits = 3
    while digits < 6 and any(abs(v) > 5e-7 and not round(v, digits) for v in values):
        digits += 1
    return [f"{value:.{digits}f}" for value in values]


def _doubt(pair, lead, low, high, n_pairs):
    """Say why a lead is not certain; its interval, that of one pair, may exclude 0."""
    chance, certain = _chance(pair["p_corrected"]), low > 0
    lead, low, high = _written(lead, low, high)
    if not certain:
        return (
            f"the true difference lies between {low} and {high}, and one this "
            f"large occurs {chance}"
        )
    corrected = f", corrected for {n_pairs} pairs," if n_pairs > 1 else ""
    return (
        f"the lead of {lead} ({low} to {high} for this pair alone) is not "
        f"certain, as by the paired test{corrected} one this large occurs {chance}"
    )


def labeled_verdict(scores, differences, measure, n_queries, confidence):
    """Say which model is better, by the tables of a `Comparison`."""
    means = scores[scores["measure"] == measure].set_index("model")["mean"]
    means = means.sort_values(ascending=False, kind="stable")
    best = means.index[0]
    rows = differences[differences["measure"] == measure].set_index(["model", "other"])
    sure, unsure, p_values = [], [], []
    for other in means.index[1:]:
        if (best, other) in rows.index:
            pair = rows.loc[(best, other)]
            low, high = pair["low"], pair["high"]
        else:
            pair = rows.loc[(other, best)]
            low, high = -pair["high"], -pair["low"]
        p_value, text = pair["p_corrected"], f"{other} ({means[other]:.3f})"
        lead = means[best] - means[other]
        if p_value < 1 - confidence:
            lead, low, high = _written(lead, low, high)
            sure.append(f"{text} by {lead} ({low} to {high})")
            p_values.append(p_value)
        else:
            doubt = _doubt(pair, lead, low, high, len(rows))
            unsure.append(f"{text}: {doubt}")
    intervals = f"{100 * confidence:g} % intervals"
    if not unsure:
        each = "Such a lead" if len(sure) == 1 else "The least significant lead"
        return (
            f"{best} is better: its {measure} is {means[best]:.3f}, ahead of "
            f"{_listed(sure)} ({n_queries:,} queries, {intervals}). {each} "
            f"occurs {_chance(max(p_values))}."
        )
    return (
        f"{n_queries:,} queries ({intervals}) do not show whether {best} ({measure} "
        f"{means[best]:.3f}) is better than {'; or than '.join(unsure)}."
        + (f" It is significantly ahead of {_listed(sure)}." if sure else "")
    )


def unlabeled_verdict(overlap, k, n_queries):
    """Describe the overlap of the answers, for lack of labels."""
    rows = overlap[overlap["measure"] == f"Jaccard@{k}"]
    parts = [
        f"{row.model} and {row.other} {row.mean:.2f} ({row.low:.2f} to {row.high:.2f})"
        for row in rows.itertuples()
    ]
    return (
        f"Without labels there are no scores, only the overlap of the first "
        f"{k} answers (Jaccard, 1 = the same pictures; {n_queries:,} queries): "
        f"{_listed(parts)}."
    )
