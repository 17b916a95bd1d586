"""Stratified sampling that keeps groups of pictures together."""

import numpy as np
import pandas as pd


def assign_groups(counts, targets, random_state=None):
    """Assign whole groups to subsets, so that each gets its number of each class.

    Greedy: large groups first, each to the subset whose class counts, and whose size, it
    brings nearest to the targets, by the sum of squared gaps over the target.

    Parameters
    ----------
    counts : ndarray of shape (n_groups, n_classes), int
        Pictures of each class in each group.
    targets : ndarray of shape (n_subsets, n_classes)
        Pictures of each class that each subset should get.
    random_state : int, RandomState or None, default=None
        Seed of the order among groups of one size.

    Returns
    -------
    subsets : ndarray of shape (n_groups,), int
    """
    # The size counts, too, and more: many small classes would all round down.
    counts, targets = (
        np.column_stack([table, table.sum(axis=1)]) for table in (counts, targets)
    )
    from sklearn.utils import check_random_state  # which takes a second to import

    order = check_random_state(random_state).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    gaps, scale = -targets.astype(float), np.maximum(targets, 1e-3)
    scale[:, -1] /= 4
    subsets = np.empty(len(counts), int)
    for group in order:
        cost = (counts[group] * (2 * gaps + counts[group]) / scale).sum(axis=1)
        subsets[group] = cost.argmin()
        gaps[subsets[group]] += counts[group]
    return subsets


def count_classes(labels, groups):
    """Count the pictures of each class in each group.

    Parameters
    ----------
    labels, groups : sequence of length n
        Class and group of each picture.

    Returns
    -------
    counts : ndarray of shape (n_groups, n_classes), int
        The classes sorted, the groups in order of first occurrence.
    group : ndarray of shape (n,), int
        Row of each picture's group.
    """
    group, names = pd.factorize(np.asarray(groups))
    classes, label = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.zeros((len(names), len(classes)), int)
    np.add.at(counts, (group, label), 1)
    return counts, group


def sample_groups(labels, groups, share, random_state=None):
    """Choose a share of each class, whole groups at a time.

    Parameters
    ----------
    labels, groups : sequence of length n
        Class of each picture, and what must stay together (an original and its
        rotated copies), whatever its classes.
    share : float
        Share of each class to take, in (0, 1]; at least one picture is taken.
    random_state : int, RandomState or None, default=None
        Seed.

    Returns
    -------
    chosen : ndarray of shape (n,), bool

    Raises
    ------
    ValueError
        If `share` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(
            f"sample_percent is a share above 0 and up to 1, got {share!r}; "
            "0.1 takes a tenth."
        )
    if share == 1:
        return np.ones(len(labels), bool)
    counts, group = count_classes(labels, groups)
    all_of = counts.sum(axis=0)
    taken = np.maximum(share * all_of, np.minimum(1, all_of))
    subsets = assign_groups(counts, np.stack([taken, all_of - taken]), random_state)
    return subsets[group] == 0
