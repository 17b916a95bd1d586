"""The contract of scikit-learn, held by every estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from geoimages import (
    ColorFeatures,
    ConvFeatures,
    ConvNetClassifier,
    FisherFeatures,
    HOGFeatures,
    KMeansModel,
    MLPEmbedding,
    PairwiseModel,
    PatternFeatures,
    RockFeatures,
    TextureFeatures,
    TripletEmbedding,
)

SMALL = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.01, "random_state": 0}
RANKED = {
    "check_fit2d_predict1d": "one 1-D row is one candidate, as in the original",
    "check_methods_sample_order_invariance": "a batch gives one long ranked table",
}
EXPECTED = {
    "PairwiseModel": RANKED,
    "KMeansModel": RANKED,
}


@parametrize_with_checks(
    [
        PairwiseModel(),
        PairwiseModel(algorithm="partitioned"),
        PairwiseModel(algorithm="faiss"),
        KMeansModel(),
        ColorFeatures(),
        TextureFeatures(),
        HOGFeatures(),
        ConvFeatures(4),
        FisherFeatures(4, n_patches=500),
        PatternFeatures(),
        RockFeatures(n_filters=4),
        MLPEmbedding(max_epochs=10, **SMALL),
        TripletEmbedding(4, max_epochs=5, **SMALL),
        TripletEmbedding(4, max_epochs=5, random_state=0, hidden_layer_sizes=()),
        ConvNetClassifier(
            RockFeatures(conv=1, tone=0, n_filters=4), max_epochs=3, **SMALL
        ),
        ConvNetClassifier("passthrough", max_epochs=5, **SMALL),
    ],
    expected_failed_checks=lambda estimator: EXPECTED.get(type(estimator).__name__, {}),
)
def test_estimator_contract(estimator, check):
    check(estimator)
