"""The probability that the best match is the same picture: learned, and checked.

Half of the candidates are pictures of the collection that were changed, half are not in
it. The logistic regression on the logarithm of the best verification is learned on
drawn rocks: on pictures of their own, on some of so little contrast that many are
alike, and on tiles of common scenes, which overlap. Its two numbers stand in
``geoimages/features/verification.py``. It is checked on the archive's dev part, where
there is one.
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

from .data import archive, temporary
from .transformations import TRANSFORMATIONS, transformed

_BINS = [-1, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 2]


def _calm():
    """Drawn rocks of any contrast down to a fiftieth."""
    images = make_rocks(2000, random_state=0)[0].astype(np.float32)
    mean = images.mean(axis=(1, 2), keepdims=True)
    contrast = np.random.default_rng(0).uniform(np.log(0.02), 0, len(images))
    images = mean + np.exp(contrast)[:, None, None, None] * (images - mean)
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def _tiles():
    """Ten tiles of each of 200 drawn scenes, which overlap by chance."""
    scenes = make_rocks(200, image_shape=(112, 112, 3), random_state=3)[0]
    rng, tiles = np.random.default_rng(0), []
    for scene in scenes:
        for top, left in rng.integers(0, 85, (10, 2)):
            tiles.append(scene[top : top + 28, left : left + 28])
    return np.stack(tiles)


def best_verifications(images, each):
    """(verification of the best match, whether it is the same picture) of candidates.

    `each` pictures undergo each change, and as many candidates are not there.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    n_others = each * len(TRANSFORMATIONS)
    others, stored = images[order[:n_others]], images[order[n_others:]]
    model = PairwiseModel(1, features=PatternFeatures(), orientation="any").fit(stored)
    found = [(model.predict(others), np.full(n_others, -1))]
    for name in TRANSFORMATIONS:
        own = rng.choice(len(stored), each, replace=False)
        found.append((model.predict(transformed(stored[own], name)), own))
    best = np.concatenate([table["verification"] for table, _ in found])
    same = [table.index.get_level_values("key") == own for table, own in found]
    return best, np.concatenate(same)


def _report(name, best, same):
    """Print how well the probability is calibrated, and how often it decides rightly."""
    proba = match_probability(best)
    error = expected_calibration_error(
        same, np.column_stack([1 - proba, proba]), np.array([False, True])
    )
    print(
        f"  {name}: {len(same):,} candidates, {same.mean():.3f} found; area under the "
        f"curve {roc_auc_score(same, -best):.3f}, log loss {log_loss(same, proba):.3f}, "
        f"calibration error {error:.3f}, right {np.mean((proba > 0.5) == same):.3f}"
    )
    table = pd.DataFrame({"found": same, "probability": proba})
    table = table.groupby(pd.cut(best, _BINS), observed=True).agg(["size", "mean"])
    print(table.round(3).to_string())


class SamePictureProbability:
    """The probability that the best match is the same picture."""

    def run(self):
        print(f"\n{self.__doc__}")
        drawn = [
            best_verifications(make_rocks(3000, random_state=0)[0], 60),
            best_verifications(_calm(), 30),
            best_verifications(_tiles(), 30),
        ]
        best, same = (np.concatenate(part) for part in zip(*drawn, strict=True))
        logistic = LogisticRegression(C=1e6).fit(np.log(best + LEAST)[:, None], same)
        slope, intercept = logistic.coef_.item(), logistic.intercept_.item()
        print(f"  learned: slope {slope:.3f}, intercept {intercept:.3f}")
        _report("drawn, learned from", best, same)
        split = archive().parent / "geological_similarity_split.csv"
        if not split.exists():
            return
        with Collection.create(temporary("rocks.h5"), archive()) as rocks:
            images = rocks[holdout(rocks, split)[1]]
        _report("archive, dev", *best_verifications(images, 60))


SUITES = [SamePictureProbability]
