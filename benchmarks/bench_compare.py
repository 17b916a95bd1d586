"""What similarity models cost in memory: fitted, and while fitting and asking."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd

from geoimages import KMeansModel, PairwiseModel, RockFeatures
from geoimages.pictures.validation import is_collection

from .data import collection

MODELS = {
    "pairwise": lambda: PairwiseModel(),
    "kmeans": lambda: KMeansModel(random_state=0),
    "rock": lambda: PairwiseModel(features=RockFeatures()),
    "kmeans on rock": lambda: KMeansModel(features=RockFeatures(), random_state=0),
}
_MB = 1e6


def traced_peak(function):
    """Megabytes that a call takes at most at a time, beyond what was there."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / _MB


class _Counter(pickle.Pickler):
    """Counts what an object holds, but for a collection's pictures on disk."""

    def __init__(self):
        self.nbytes = 0
        super().__init__(self, protocol=5, buffer_callback=self._count)

    def _count(self, buffer):
        self.nbytes += buffer.raw().nbytes

    def write(self, written):
        self.nbytes += len(written)

    def persistent_id(self, value):
        return "elsewhere" if is_collection(value) else None


def held(model):
    """Megabytes that a fitted model holds."""
    counter = _Counter()
    counter.dump(model)
    return counter.nbytes / _MB


class Memory:
    """Memory of the models compared in docs/compare.md, in MB."""

    def setup(self):
        self.rocks = collection()

    def track_table(self):
        rows = {}
        for name, make in MODELS.items():
            model = make()
            fit = traced_peak(lambda model=model: model.fit(self.rocks))
            query = traced_peak(lambda model=model: model.predict(self.rocks[:1]))
            rows[name] = {"model": held(model), "fit": fit, "one query": query}
        table = pd.DataFrame(rows).T
        print(table.to_string(float_format="{:.1f}".format))
        return np.sum(table["model"])


SUITES = [Memory]
