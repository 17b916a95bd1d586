"""
A/B comparison of models
========================

All models get the same queries, and a sentence says which is better, with an interval.
"""

from pathlib import Path
from tempfile import mkdtemp

from geoimages import (
    Collection,
    KMeansModel,
    PairwiseModel,
    Plots,
    RockFeatures,
    compare,
    make_rocks,
)

images, labels = make_rocks(300, random_state=0)
rocks = Collection.from_arrays(Path(mkdtemp()) / "rocks.h5", images, labels)
models = {
    "pairwise": PairwiseModel(),
    "kmeans": KMeansModel(random_state=0),
    "rock": PairwiseModel(features=RockFeatures()),
}
result = compare(models, 120, X=rocks, ks=(1, 10), full=False, random_state=0)
print(result.verdict)

# %%
# Left: scores with intervals. Middle: paired differences (hollow if not certain after
# the correction for the number of pairs). Right: overlap of the answers.

Plots.comparison(result)

# %%
# Every number in the figure is in a table. The p-values are corrected for three pairs.

result.differences.query("measure == 'precision@10'").round(3)
