"""
A map of the collection
=======================

Similar pictures are close: see at a glance which classes separate and which overlap.

A map is a projection to two of many dimensions: distant pictures differ, close ones may
still differ in other dimensions. ``RockFeatures`` use no labels; these only set the
color.
"""

import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline

from geoimages import Plots, RockFeatures, TripletEmbedding, make_rocks

images, labels = make_rocks(600, random_state=0)
rows = RockFeatures().fit_transform(images)
Plots.embedding_plot(rows, labels, "pca", images=images, n_thumbnails=40)

# %%
# ``TripletEmbedding`` learns from labels to separate the classes. Both maps show 200
# held-out pictures.

learned = make_pipeline(RockFeatures(), TripletEmbedding(max_epochs=10, random_state=0))
learned.fit(images[:400], labels[:400])
rows = {
    "RockFeatures, no labels": RockFeatures().fit(images[:400]).transform(images[400:]),
    "with TripletEmbedding": learned.transform(images[400:]),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, (title, vectors) in zip(axes, rows.items(), strict=True):
    Plots.embedding_plot(vectors, labels[400:], "pca", ax=ax)
    ax.set_title(title)
axes[0].get_legend().remove()
