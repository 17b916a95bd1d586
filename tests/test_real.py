"""On the real archive, rankings equal those of cdist in float64."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from geoimages import KMeansModel, PairwiseModel, fetch_geological_similarity

pytestmark = pytest.mark.real


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "cityblock"])
def test_rankings_equal_cdist(real_rocks, metric):
    k = 50
    model = PairwiseModel(k, metric).fit(real_rocks)
    queries = real_rocks[::5000]
    scaled = real_rocks[:].reshape(len(real_rocks), -1) / 255
    reference = cdist(queries.reshape(len(queries), -1) / 255, scaled, metric)
    matches = model.predict(queries)
    for i, row in enumerate(reference):
        found = matches.loc[i]
        wanted = np.sort(row)[:k]
        np.testing.assert_allclose(found[metric], wanted, rtol=1e-12, atol=1e-12)
        places = [real_rocks.position(key) for key in found.index]
        np.testing.assert_allclose(row[places], wanted, rtol=1e-12, atol=1e-12)
        # Where distances are apart, the order is that of the distances.
        gaps = np.diff(wanted) > 1e-9
        apart = np.append(True, gaps) & np.append(gaps, False)
        order = np.argsort(row, kind="stable")[:k]
        np.testing.assert_array_equal(np.asarray(places)[apart], order[apart])


def test_equal_pictures_are_ordered_by_key(real_rocks):
    sums = pd.util.hash_array(
        np.array([image.tobytes() for image in real_rocks], dtype=object)
    )
    twins = pd.Series(real_rocks.keys)[
        pd.Series(sums).duplicated(keep=False).to_numpy()
    ]
    assert len(twins) == 12
    model = PairwiseModel(10).fit(real_rocks)
    table = model.predict(real_rocks[twins.tolist()])
    for i in range(len(twins)):
        nearest = table.loc[i]
        same = nearest.index[nearest["correlation"] == 0]
        assert len(same) >= 2
        assert list(same) == sorted(same)


def test_kmeans_of_every_cluster_equals_pairwise(real_rocks):
    model = KMeansModel(k_candidates=20, random_state=0).fit(real_rocks)
    queries = real_rocks[::3000]
    every = model.predict(queries, clusters_searched=3)
    pd.testing.assert_frame_equal(
        every, PairwiseModel(20).fit(real_rocks).predict(queries)
    )
    assert not every.equals(model.predict(queries))


def test_fetch_reads_the_zip_a_user_has(real_data, real_rocks):
    rocks = fetch_geological_similarity(url=real_data / "geological_similarity.zip")
    assert rocks.data.shape == (26_434, 28, 28, 3)
    np.testing.assert_array_equal(rocks.data[::999], real_rocks[::999])
    assert list(rocks.image_keys[:3]) == list(real_rocks.keys[:3])
