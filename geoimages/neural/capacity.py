"""Capacity of a model by cross-validation: folds that keep copies together."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_consistent_length

#: Rows below which capacity is chosen; above, there is enough to learn from.
FEW = 2000
_N_FOLDS = 3


def grouped_folds(codes, groups, rng):
    """Folds (inside, outside) of which each leaves rows of every class inside.

    Rows of a group share a fold; without `groups` each is its own. Empty where a class
    has too few.
    """
    groups = np.arange(len(codes)) if groups is None else np.asarray(groups)
    check_consistent_length(codes, groups)
    n_groups = min(len(set(groups[codes == code])) for code in set(codes))
    if n_groups < 2:
        return []
    folds = StratifiedGroupKFold(
        min(_N_FOLDS, n_groups), shuffle=True, random_state=rng.randint(1 << 31)
    )
    folds = list(folds.split(codes, codes, groups))
    whole = all(len(set(codes[inside])) == len(set(codes)) for inside, _ in folds)
    return folds if whole else []
