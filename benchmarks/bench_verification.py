"""The probability that the best match is the same picture: learned, and checked.

Half of the candidates are pictures of the collection that were changed, half are not in
it. The logistic regression on the logarithm of the best verification is learned on
drawn rocks; its two numbers stand in ``geoimages/features/verification.py``. It is
checked on the archive's dev part, or on other drawn rocks without it.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from geoimages import (
    Collection,
    PairwiseModel,
    PatternFeatures,
    expected_calibration_error,
    holdout,
    make_rocks,
)
from geoimages.features.verification import LEAST, match_probability

from .changes import CHANGES, changed
from .data import archive, temporary

_EACH = 60  # candidates a change, and as many that are not there for each


def best_verifications(images, random_state=0):
    """(verification of the best match, whether it is the same picture) of candidates."""
    rng = np.random.default_rng(random_state)
    order = rng.permutation(len(images))
    n_others = _EACH * len(CHANGES)
    others, stored = images[order[:n_others]], images[order[n_others:]]
    model = PairwiseModel(1, features=PatternFeatures(), orientation="any").fit(stored)
    found = [(model.predict(others), np.full(n_others, -1))]
    for name in CHANGES:
        own = rng.choice(len(stored), _EACH, replace=False)
        found.append((model.predict(changed(stored[own], name)), own))
    best = np.concatenate([table["verification"] for table, _ in found])
    same = [table.index.get_level_values("key") == own for table, own in found]
    return best, np.concatenate(same)


class SamePictureProbability:
    """The probability that the best match is the same picture."""

    def run(self):
        drawn = [
            best_verifications(
                make_rocks(n, image_shape=shape, random_state=seed)[0], seed
            )
            for seed, (n, shape) in enumerate(
                [(3000, (28, 28, 3)), (3000, (28, 28, 3)), (1200, (96, 96, 3))]
            )
        ]
        best, same = (np.concatenate(part) for part in zip(*drawn, strict=True))
        logistic = LogisticRegression(C=1e6).fit(np.log(best + LEAST)[:, None], same)
        print(f"\n{self.__doc__}")
        print(
            f"  learned: slope {logistic.coef_[0, 0]:.3f}, "
            f"intercept {logistic.intercept_[0]:.3f}"
        )
        self.report("drawn, learned from", best, same)
        split = archive().parent / "geological_similarity_split.csv"
        with Collection.create(temporary("rocks.h5"), archive()) as rocks:
            images = rocks[holdout(rocks, split)[1]] if split.exists() else rocks[:]
        self.report(
            "archive, dev" if split.exists() else "drawn", *best_verifications(images)
        )

    def report(self, name, best, same):
        proba = match_probability(best)
        wrong = expected_calibration_error(
            same, np.column_stack([1 - proba, proba]), np.array([False, True])
        )
        print(
            f"  {name}: {len(same):,} candidates, {same.mean():.3f} the same; AUC "
            f"{roc_auc_score(same, -best):.3f}, log loss {log_loss(same, proba):.3f}, "
            f"calibration error {wrong:.3f}; at 0.5 right "
            f"{np.mean((proba > 0.5) == same):.3f}, "
            f"not there but said to be {np.mean(proba[~same] > 0.5):.3f}"
        )
        bins = pd.cut(best, [-1, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 2])
        table = pd.DataFrame({"same": same, "probability": proba}).groupby(
            bins, observed=True
        )
        print(
            table.agg(
                n=("same", "size"),
                same=("same", "mean"),
                probability=("probability", "mean"),
            )
            .round(3)
            .to_string()
        )


SUITES = [SamePictureProbability]
