"""Products of matrices are computed on one thread where these are small and many."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from geoimages import FisherFeatures, RockFeatures, make_rocks
from geoimages.features import base


def n_threads():
    return {
        pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
    }


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield n_threads()


@pytest.mark.parametrize("features", [RockFeatures(), FisherFeatures()], ids=str)
def test_features_are_computed_on_one_thread(features, monkeypatch, two_threads):
    images, _ = make_rocks(12, random_state=0)
    seen, check = set(), base.kernels.at_least

    def watching(*args, **kwargs):
        seen.update(n_threads())
        return check(*args, **kwargs)

    monkeypatch.setattr(base.kernels, "at_least", watching)
    expected = features.fit(images).transform(images)
    assert seen == {1}
    assert n_threads() == two_threads
    again = features.set_params(n_jobs=2).transform(images)
    assert np.array_equal(expected, again)
    assert seen == {1}
