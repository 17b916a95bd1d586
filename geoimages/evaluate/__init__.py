"""Evaluation of classifiers and similarity models, and model comparison."""

from .classification import (
    DISTURBANCES,
    classification_report,
    disturbance_table,
    disturbances,
    expected_calibration_error,
    reliability_curve,
)
from .comparison import Comparison, compare
from .measures import (
    average_precision,
    jaccard,
    map_at_r,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    rank_biased_overlap,
    recall_at_k,
)
from .retrieval import RetrievalScores, recall_against_exact, retrieval_scores
from .statistics import (
    bootstrap_interval,
    holm,
    paired_permutation_test,
    wilson_interval,
)

__all__ = [
    "DISTURBANCES",
    "Comparison",
    "RetrievalScores",
    "average_precision",
    "bootstrap_interval",
    "classification_report",
    "compare",
    "disturbance_table",
    "disturbances",
    "expected_calibration_error",
    "holm",
    "jaccard",
    "map_at_r",
    "ndcg_at_k",
    "paired_permutation_test",
    "precision_at_k",
    "r_precision",
    "rank_biased_overlap",
    "recall_against_exact",
    "recall_at_k",
    "reliability_curve",
    "retrieval_scores",
    "wilson_interval",
]
