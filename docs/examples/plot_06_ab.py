"""
Which model is better?
======================

Two models answer differently. The same pictures are asked of both, and a sentence says
which is better and how sure that is.
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
# Left the scores with their intervals, in the middle the paired differences (hollow
# where they may be chance), right how much of the answers is the same.

Plots.comparison(result)

# %%
# Every number of the figure is in a table. The p-values are corrected for there being
# three pairs.

result.differences.query("measure == 'precision@10'").round(3)
