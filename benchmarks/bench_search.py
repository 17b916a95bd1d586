"""One candidate against every picture, beside the proof of concept's way."""

import numpy as np
from sklearn.metrics import pairwise_distances

from geoimages import Collection, KMeansModel, PairwiseModel

from .data import archive, temporary


class Search:
    """Search: one candidate by correlation, euclidean and cityblock distance."""

    RATIOS = (
        ("time_original_correlation", "time_pairwise_correlation"),
        ("time_original_euclidean", "time_pairwise_euclidean"),
        ("time_original_cityblock", "time_pairwise_cityblock"),
    )

    def setup(self):
        self.rocks = Collection.create(temporary("rocks.h5"), archive())
        self.rows = self.rocks.to_frame().to_numpy(np.float64)
        self.picture = self.rocks[len(self.rocks) // 2]
        self.row = self.picture.reshape(1, -1) / 255
        self.model = PairwiseModel().fit(self.rocks)

    def _original(self, metric):
        distance = pairwise_distances(self.row, self.rows, metric=metric)[0]
        return np.argsort(distance)[:12]

    def time_original_correlation(self):
        self._original("correlation")

    def time_original_euclidean(self):
        self._original("euclidean")

    def time_original_cityblock(self):
        self._original("cityblock")

    def time_pairwise_correlation(self):
        self.model.predict(self.picture)

    def time_pairwise_euclidean(self):
        self.model.predict(self.picture, dist_metric="euclidean")

    def time_pairwise_cityblock(self):
        self.model.predict(self.picture, dist_metric="cityblock")

    def track_pictures(self):
        return len(self.rocks)

    def track_memory_of_float64_rows_over_ours(self):
        return self.rows.nbytes / self.model.search_.rows.nbytes


class Turns:
    """Turns: one candidate against all quarter turns of every picture."""

    RATIOS = (
        ("time_original", "time_rotations_of_the_candidate"),
        ("time_original", "time_stored_turns"),
    )

    def setup(self):
        with Collection.create(temporary("rocks.h5"), archive()) as rocks:
            images = rocks[:]
        turned = np.concatenate([np.rot90(images, k, axes=(1, 2)) for k in range(4)])
        self.picture = images[len(images) // 2]
        self.row = self.picture.reshape(1, -1) / 255
        self.originals = PairwiseModel(orientation="rotations").fit(images)
        self.stored = PairwiseModel().fit(turned)
        self.rows = turned.reshape(len(turned), -1) / 255

    def time_original(self):
        distance = pairwise_distances(self.row, self.rows, metric="correlation")[0]
        return np.argsort(distance)[:12]

    def time_rotations_of_the_candidate(self):
        self.originals.predict(self.picture)

    def time_stored_turns(self):
        self.stored.predict(self.picture)

    def track_memory_of_float64_rows_over_ours(self):
        return self.rows.nbytes / self.stored.search_.rows.nbytes


class Elbow:
    """Elbow: k-means with 1 to 10 clusters, by block averages and by all pixels."""

    ONCE = True
    RATIOS = (("time_full_lloyd", "time_block_averages"),)

    def setup(self):
        with Collection.create(temporary("rocks.h5"), archive()) as rocks:
            images = rocks[:]
        self.pooled = KMeansModel(1, random_state=0).fit(images)
        self.full = KMeansModel(1, pooling=None, random_state=0).fit(images)

    def time_block_averages(self):
        self.inertias = np.array(self.pooled.model_inertias(range(1, 11)))

    def time_full_lloyd(self):
        self.full_inertias = np.array(self.full.model_inertias(range(1, 11)))

    def track_largest_inertia_over_that_of_full_lloyd(self):
        return np.max(self.inertias / self.full_inertias)


class Clusters:
    """Clusters: what searching one of three leaves out."""

    def setup(self):
        self.rocks = Collection.create(temporary("rocks.h5"), archive())
        self.keys = self.rocks.keys[:: max(1, len(self.rocks) // 500)].tolist()
        self.labels = self.rocks.labels[:: max(1, len(self.rocks) // 500)]
        self.exact = PairwiseModel().fit(self.rocks)
        self.kmeans = KMeansModel(random_state=0).fit(self.rocks)

    def track_recall_at_12_of_kmeans(self):
        exact = self.exact.predict(self.keys).index
        found = self.kmeans.predict(self.keys).index
        return len(exact.intersection(found)) / len(exact)

    def track_precision_at_12_of_pairwise(self):
        return self.exact.score(self.keys, self.labels)

    def track_precision_at_12_of_kmeans(self):
        return self.kmeans.score(self.keys, self.labels)


SUITES = [Search, Turns, Elbow, Clusters]
