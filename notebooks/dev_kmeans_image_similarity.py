# %% [markdown]
# # Into how many groups does a collection fall?
#
# **Question.** k-means parts the pictures into clusters, so that a search need look
# into the nearest one only. How many clusters does the collection have, what is in
# them, and what does a search miss that looks into one?
#
# **Data.** A small drawn sample. Set `GEOIMAGES_DATA` to the folder that holds
# `geological_similarity.zip` to use the public archive.

# %%
import os
from pathlib import Path

import pandas as pd

from geoimages import (
    Collection,
    KMeansModel,
    Plots,
    RockFeatures,
    suggest_elbow,
    write_rocks,
)

data = os.environ.get("GEOIMAGES_DATA")
work = Path("work", "archive" if data else "drawn")
work.mkdir(parents=True, exist_ok=True)
if data:
    archive = Path(data, "geological_similarity.zip")
else:
    archive = write_rocks(work / "rocks.zip", 480, random_state=0, n_damaged=3)

path = work / "rocks.h5"
rocks = Collection(path) if path.exists() else Collection.create(path, archive)
vectors_df = rocks.to_frame("uint8")
print(f"{vectors_df.shape[0]:,} pictures, {vectors_df.shape[1]:,} numbers each")

# %% [markdown]
# ## Step by step: the elbow
#
# k-means is run with 1 to 10 clusters. The *inertia* is the sum of the squared
# distances of all pictures to the center of their cluster: it falls with each further
# cluster, and where it stops falling fast, more clusters do not pay. The model itself
# stays as it is.

# %%
clusters = range(1, 11)
kmeans = KMeansModel(num_clusters=3, random_state=0).fit(vectors_df)
inertias = kmeans.model_inertias(clusters)
print(f"suggested: {suggest_elbow(clusters, inertias)} clusters")

# %% [markdown]
# **What the figure shows.** The inertia for each number of clusters. Without clusters it
# would fall as a power of their number; the elbow is the point farthest below that. A
# curve that bends no more than a power law has no clear elbow (`None`).

# %%
Plots.elbow_plot(clusters, inertias)

# %% [markdown]
# ## What is in the clusters?
#
# **What the figure shows.** A row for each of three clusters of pixels. They part the
# pictures by light and color: that is what most of the squared distance between two
# pictures is about.

# %%
Plots.sample_sheet(rocks, [f"cluster {n}" for n in kmeans.labels_], n_per_class=6)

# %% [markdown]
# The table counts the classes in each cluster. Where a class lies in all of them, the
# clusters know nothing of it.

# %%
pd.crosstab(rocks.labels, kmeans.labels_, rownames=["class"], colnames=["cluster"])

# %% [markdown]
# ## The better way: clusters of what geologists look at
#
# `RockFeatures` turn each picture into numbers about its color, texture and pattern, in
# place of pixels.

# %%
rock = KMeansModel(num_clusters=6, features=RockFeatures(), random_state=0).fit(rocks)
pd.crosstab(rocks.labels, rock.labels_, rownames=["class"], colnames=["cluster"])

# %% [markdown]
# **What the figure shows.** The same pictures in six clusters of these features.
# Compare with the rows above: now pattern counts, not just light.

# %%
Plots.sample_sheet(rocks, [f"cluster {n}" for n in rock.labels_], n_per_class=6)

# %% [markdown]
# ## What a search of few clusters misses
#
# A picture near the border of its cluster has its like beyond it. Each model measures
# that on its own pictures: the share of the truly most similar twelve that are found
# when the nearest one, two, … clusters are searched.

# %%
six = KMeansModel(num_clusters=6, random_state=0).fit(rocks)
curves = {
    "six clusters of pixels": six.recall_curve_,
    "six clusters of RockFeatures": rock.recall_curve_,
}
columns = [f"{n} searched" for n in range(1, 7)]
pd.DataFrame(curves, index=columns).T.round(3)

# %% [markdown]
# Instead of a number of clusters, say what share must be found; the model then searches
# as many as that takes.

# %%
sure = KMeansModel(
    num_clusters=6, features=RockFeatures(), recall_target=0.95, random_state=0
).fit(rocks)
print(f"{sure.clusters_searched_} of 6 clusters searched, recall {sure.recall_:.3f}")

# %% [markdown]
# **Result.** The elbow says how many clusters pay, the pictures say what they mean, and
# the recall says what searching few of them costs. In a shell: `geoimages elbow
# rocks.h5 --clusters 1-10 --plot elbow.png`.
