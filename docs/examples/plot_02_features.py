"""
Comparing features
==================

The same query through four models that differ only in their features.

The search algorithm matters little; the features matter a lot. Color alone finds
pictures of the same color, texture alone the same structure in any color.
"""

from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt

from geoimages import (
    Collection,
    ColorFeatures,
    PairwiseModel,
    Plots,
    RockFeatures,
    TextureFeatures,
    make_rocks,
    retrieval_scores,
)

images, labels = make_rocks(300, image_shape=(48, 48, 3), random_state=1)
rocks = Collection.from_arrays(Path(mkdtemp()) / "rocks.h5", images, labels)
features = {
    "pixels": None,
    "color": ColorFeatures(),
    "texture": TextureFeatures(),
    "rock": RockFeatures(),
}
models = {name: PairwiseModel(features=f).fit(rocks) for name, f in features.items()}

# %%
# Pictures of the candidate's class have a thick frame. Pixels match light and dark in
# the same places, color any rock of that color, texture any rock of that structure.

Plots.side_by_side(rocks.keys[3], models, rocks, k_candidates=6)

# %%
# A single query proves nothing. Precision at 10 over 150 queries, with 95 % intervals:

fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
for name, model in models.items():
    scores = retrieval_scores(
        model, rocks.keys[:150].tolist(), ks=10, full=False
    ).scores
    row = scores[(scores["class"] == "all") & (scores["measure"] == "precision@10")]
    mean, low, high = row[["mean", "low", "high"]].to_numpy()[0]
    ax.errorbar(
        mean, name, xerr=[[mean - low], [high - mean]], fmt="o", color="#2f5d7c"
    )
    ax.annotate(f"{mean:.2f}", (mean, name), (0, 7), textcoords="offset points")
ax.set(xlabel="precision at 10", xlim=(0, 1), ylim=(-0.5, 3.7))
ax.spines[["top", "right"]].set_visible(False)
