# %% [markdown]
# # How many clusters does a collection have?
#
# **Question.** k-means clusters the pictures, so that a search is limited to the
# nearest cluster. How many clusters does the collection have, what is in them, and what
# does a search of one cluster miss?
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
# k-means is run with 1 to 10 clusters. The *inertia* is the sum of squared distances of
# all pictures to their cluster center: it decreases with the number of clusters, and
# beyond the elbow more clusters gain little. The fitted model is unchanged.

# %%
clusters = range(1, 11)
kmeans = KMeansModel(num_clusters=3, random_state=0).fit(vectors_df)
inertias = kmeans.model_inertias(clusters)
print(f"suggested: {suggest_elbow(clusters, inertias)} clusters")

# %% [markdown]
# **What the figure shows.** The inertia for each number of clusters. For data
# without clusters it falls as a power of their number; the elbow is the point farthest
# below such a curve. If it bends no more than a power law, there is no clear elbow
# (`None`).

# %%
Plots.elbow_plot(clusters, inertias)

# %% [markdown]
# ## What is in the clusters?
#
# **What the figure shows.** A row for each of three clusters of pixels. They separate
# the pictures by brightness and color, which account for most of the squared distance
# between pictures.

# %%
Plots.sample_sheet(rocks, [f"cluster {n}" for n in kmeans.labels_], n_per_class=6)

# %% [markdown]
# The table counts the classes in each cluster. Where a class is spread over all of
# them, the clusters do not capture it.

# %%
pd.crosstab(rocks.labels, kmeans.labels_, rownames=["class"], colnames=["cluster"])

# %% [markdown]
# ## The better way: clusters of what geologists look at
#
# `RockFeatures` describe the color, texture and pattern of each picture instead of its
# pixels.

# %%
rock = KMeansModel(num_clusters=6, features=RockFeatures(), random_state=0).fit(rocks)
pd.crosstab(rocks.labels, rock.labels_, rownames=["class"], colnames=["cluster"])

# %% [markdown]
# **What the figure shows.** The same pictures in six clusters of these features.
# Compared with the rows above, pattern now counts, not just brightness.

# %%
Plots.sample_sheet(rocks, [f"cluster {n}" for n in rock.labels_], n_per_class=6)

# %% [markdown]
# ## What a search of few clusters misses
#
# A picture near the border of its cluster has neighbors in other clusters. Each model
# measures the effect on its own pictures: the recall of the true twelve nearest
# neighbors when the nearest one, two, … clusters are searched.

# %%
six = KMeansModel(num_clusters=6, random_state=0).fit(rocks)
curves = {
    "six clusters of pixels": six.recall_curve_,
    "six clusters of RockFeatures": rock.recall_curve_,
}
columns = [f"{n} searched" for n in range(1, 7)]
pd.DataFrame(curves, index=columns).T.round(3)

# %% [markdown]
# Instead of a number of clusters, set the recall to reach; the model then searches as
# many clusters as needed.

# %%
tuned = KMeansModel(
    num_clusters=6, features=RockFeatures(), recall_target=0.95, random_state=0
).fit(rocks)
print(f"{tuned.clusters_searched_} of 6 clusters searched, recall {tuned.recall_:.3f}")

# %% [markdown]
# **Result.** The elbow suggests the number of clusters, the pictures show what they
# mean, and the recall measures the cost of searching few of them. In a shell:
# `geoimages elbow rocks.h5 --clusters 1-10 --plot elbow.png`.
