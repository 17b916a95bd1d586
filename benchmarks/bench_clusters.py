"""What searching few clusters leaves out."""

from geoimages import KMeansModel, PairwiseModel

from .data import collection


class Clusters:
    """Clusters: what searching one of three leaves out."""

    def setup(self):
        self.rocks = collection()
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


SUITES = [Clusters]
