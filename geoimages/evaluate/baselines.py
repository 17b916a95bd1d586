"""What a classifier's scores are measured against: plain models on the same features."""

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state

from ..features.threads import one_blas_thread
from .classification import expected_calibration_error

#: Training pictures that the logistic regression learns from, at most.
MOST_PICTURES = 5000
# Inverse strength of its penalty, times the variance of the features.
_C = 20


def draw_for_baselines(y, random_state=0):
    """Draw the pictures that the baselines learn from: sorted positions.

    At most `MOST_PICTURES` (and one of each class): a share of each class.
    """
    y, rng = np.asarray(y), check_random_state(random_state)
    classes, codes = np.unique(y, return_inverse=True)
    share = min(1, MOST_PICTURES / len(y))
    chosen = []
    for code in range(len(classes)):
        of_class = np.flatnonzero(codes == code)
        most = max(1, round(share * len(of_class)))
        chosen.append(rng.permutation(of_class)[:most])
    return np.sort(np.concatenate(chosen))


def fit_baselines(rows, y, features=None):
    """Fit the plain models: {name: classifier}.

    ``logistic_regression`` on features, which are `rows` or a transformer's of them,
    and ``largest_class``, which always answers the commonest class, with its share as
    probability. The penalty follows the variance of all columns together: blocks of
    features keep their balance, and units do not matter.
    """
    dummy = DummyClassifier(strategy="prior").fit(rows, y)
    if features is not None:
        rows = features.fit_transform(rows)
    variance = np.var(rows, axis=0, dtype=np.float64).sum()
    regression = LogisticRegression(C=_C / max(variance, 1e-12), max_iter=300, tol=1e-3)
    with one_blas_thread():
        regression.fit(rows, y)
    if features is not None:
        # A pipeline of fitted steps is fitted.
        regression = make_pipeline(features, regression)
    return {"logistic_regression": regression, "largest_class": dummy}


def baseline_table(baselines, rows, y):
    """Score baselines: a row for each, columns accuracy and calibration_error."""
    table = {}
    for name, model in baselines.items():
        proba = model.predict_proba(rows)
        predicted = model.classes_[proba.argmax(axis=1)]
        table[name] = {
            "accuracy": accuracy_score(y, predicted),
            "calibration_error": expected_calibration_error(y, proba, model.classes_),
        }
    table = pd.DataFrame.from_dict(table, orient="index")
    return table.rename_axis("baseline")
