"""
Choosing the number of clusters
===============================

The elbow of the inertia, and what the clusters look like.

``KMeansModel`` clusters a collection and searches only the clusters nearest to the
candidate. The elbow of the inertia shows where more clusters stop paying off.
"""

import matplotlib.pyplot as plt
import numpy as np

from geoimages import KMeansModel, Plots, make_rocks

images, labels = make_rocks(600, image_shape=(48, 48, 3), random_state=0)
model = KMeansModel(num_clusters=3, random_state=0).fit(images, labels)
clusters = range(1, 11)
inertias = model.model_inertias(clusters)
Plots.elbow_plot(clusters, inertias)

# %%
# The means of the three clusters and some of their pictures: on pixels, k-means
# separates the rocks by brightness and color, not by kind.

fig, axes = plt.subplots(3, 7, figsize=(7.5, 3.5), layout="constrained")
for cluster, row in enumerate(axes):
    members = np.flatnonzero(model.labels_ == cluster)
    row[0].imshow(images[members].mean(axis=0) / 255)
    row[0].set_ylabel(f"{len(members)} pictures", fontsize=8)
    for ax, i in zip(row[1:], members[:6], strict=True):
        ax.imshow(images[i])
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_title("mean", fontsize=9)

# %%
# A search of one cluster misses some nearest neighbors. The model measures its recall
# on its own pictures, and takes a target.

print(f"recall of one in three clusters: {model.recall_:.2f}")
tuned = KMeansModel(3, random_state=0, recall_target=0.95).fit(images)
print(f"recall of {tuned.clusters_searched_} in three: {tuned.recall_:.2f}")
