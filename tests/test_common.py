"""The contract of scikit-learn, held by every estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from geoimages import KMeansModel, PairwiseModel

RANKED = {
    "check_fit2d_predict1d": "one 1-D row is one candidate, as in the original",
    "check_methods_sample_order_invariance": "a batch gives one long ranked table",
}
EXPECTED = {"PairwiseModel": RANKED, "KMeansModel": RANKED}


@parametrize_with_checks(
    [PairwiseModel(), KMeansModel()],
    expected_failed_checks=lambda estimator: EXPECTED.get(type(estimator).__name__, {}),
)
def test_estimator_contract(estimator, check):
    check(estimator)
