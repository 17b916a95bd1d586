"""
How many clusters?
==================

The elbow of the inertia, and what the clusters look like.

``KMeansModel`` parts a collection into clusters and searches only those next to the
candidate. The curve of the inertia says where more clusters stop paying.
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
# The means of the three clusters and some of their pictures: on pixels, clusters part
# the rocks by brightness and color, not by kind.

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
# A search that looks into one cluster misses some of the nearest pictures. The model
# measures how many it finds, on its own pictures, and can be told how many to find.

print(f"one of three clusters finds {model.recall_:.2f} of the true nearest")
sure = KMeansModel(3, random_state=0, recall_target=0.95).fit(images)
print(f"{sure.clusters_searched_} of three find {sure.recall_:.2f}")
