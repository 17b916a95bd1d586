"""
A map of the collection
=======================

Alike pictures lie together: see at a glance which classes part and which meet.

A map is two directions of many: what lies far apart is unlike, what lies together may
still differ in others. ``RockFeatures`` know no labels; the colors are only painted on.
"""

import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline

from geoimages import Plots, RockFeatures, TripletEmbedding, make_rocks

images, labels = make_rocks(600, random_state=0)
rows = RockFeatures().fit_transform(images)
Plots.embedding_plot(rows, labels, "pca", images=images, n_thumbnails=40)

# %%
# ``TripletEmbedding`` learns from labels what parts the classes. Both maps show 200
# pictures that nothing was learned from.

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
