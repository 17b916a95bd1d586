# %% [markdown]
# # Where else have we seen this?
#
# **Question.** Given one picture, which pictures of the collection are most similar? Of
# two models, one compares it with all pictures, the other with those of the nearest
# cluster.
#
# **Data.** A small drawn sample. Set `GEOIMAGES_DATA` to the folder that holds
# `geological_similarity.zip` to use the public archive.

# %%
import os
from pathlib import Path

import numpy as np
import pandas as pd

from geoimages import (
    Collection,
    Images,
    KMeansModel,
    PairwiseModel,
    PatternFeatures,
    Plots,
    RockFeatures,
    resize_image,
    write_rocks,
)

data = os.environ.get("GEOIMAGES_DATA")
work = Path("work", "archive" if data else "drawn")
work.mkdir(parents=True, exist_ok=True)
if data:
    archive = Path(data, "geological_similarity.zip")
else:
    archive = write_rocks(work / "rocks.zip", 480, random_state=0, n_damaged=3)

# %% [markdown]
# The vectors, including rotated copies, and the candidates set aside are those of
# `etl_image_similarity`; they are created here if they are missing.

# %%
folder = work / "similarity"
images = Images(folder / "images", data_path=folder / "data", dev_path=folder / "dev")
if not (folder / "vectors.h5").exists():
    images.unzip_images(archive)
    images.rename_images()
    images.sample_images(0.1, random_state=0)
    images.rotate_images(suffix=".png")
    images.write_json(images.generate_image_metadata(), "metadata.json")
    Collection.create(folder / "vectors.h5", folder / "images").close()

metadata = images.read_json("metadata.json")
vectors = Collection(folder / "vectors.h5")
vectors_df = vectors.to_frame("uint8")
print(f"{len(vectors_df):,} vectors, including rotated copies")

# %% [markdown]
# ## Step by step: fit both models
#
# `PairwiseModel` only stores the vectors; `KMeansModel` also clusters them.

# %%
pairwise = PairwiseModel(k_candidates=12).fit(vectors_df, vectors.labels)
kmeans = KMeansModel(num_clusters=3, random_state=0).fit(vectors_df, vectors.labels)

# %% [markdown]
# Read and flatten a candidate: a file that is not in the collection.

# %%
set_aside = Images(folder / "dev").generate_image_metadata()["images"]
name = next(key for key in set_aside if key.startswith("gneiss"))
picture = images.read_image(set_aside[name]["file_path"])
vector = images.flatten_image(picture, normalize=1)
print(f"{name}: {picture.shape} as a vector of length {vector.shape[0]:,}")

# %% [markdown]
# Both predictions are *ranked tables*: the most similar picture first, its distance (0
# is identical) and its similarity (1 is identical).

# %%
by_all = pairwise.predict(vector, k_candidates=12, dist_metric="correlation")
by_cluster = kmeans.predict(vector, k_candidates=12, dist_metric="correlation")
pd.concat({"pairwise": by_all, "k-means": by_cluster}).groupby(level=0).head(4).round(3)

# %% [markdown]
# **What the figure shows.** The candidate in red, then the twelve pictures of the whole
# collection with the most similar pixels.

# %%
Plots.plot_matches(by_all, metadata, candidate=picture)

# %% [markdown]
# **What the figure shows.** The same from the nearest cluster only. Pictures missing
# here are in another cluster.

# %%
Plots.plot_matches(by_cluster, metadata, candidate=picture)

# %% [markdown]
# ## The better way: compare what geologists look at
#
# Pixels agree if light and dark are in the same places, which is rare for two pictures
# of the same rock. `RockFeatures` describe color, texture and pattern regardless of
# position. They need no rotated copies, and `explain=True` shows what makes each
# picture similar.

# %%
lineage = vectors.table["lineage"]
originals = np.flatnonzero(lineage.index == lineage)
originals_df = vectors_df.iloc[originals]
rock = PairwiseModel(k_candidates=6, features=RockFeatures())
rock.fit(originals_df, vectors.labels[originals])
matches = rock.predict(picture, explain=True)
matches.round(3)

# %% [markdown]
# **What the figure shows.** The six most similar pictures by these features. The bar
# below each is its distance, divided among the feature blocks: the longer a color, the
# more the two pictures differ in that block.

# %%
Plots.plot_matches(matches, metadata, candidate=picture)

# %% [markdown]
# How often are the matches of the candidate's class? The queries are the pictures set
# aside.

# %%
queries = list(set_aside)[:: max(1, len(set_aside) // 300)]
pictures = np.stack([images.read_image(set_aside[key]["file_path"]) for key in queries])
labels = [key.split(".")[0] for key in queries]
rock.set_params(k_candidates=12)
models = {"pairwise, pixels": pairwise, "k-means, pixels": kmeans, "RockFeatures": rock}
pd.DataFrame(
    {"precision at 12": {name: m.score(pictures, labels) for name, m in models.items()}}
).round(3)

# %% [markdown]
# ## The same pattern, rotated and cropped
#
# Another question: the candidate is a crop of a picture in the collection, rotated and
# mirrored. `PatternFeatures` align each picture of a short list with the candidate, and
# `verification` measures how well the best alignment fits (0 is identical).

# %%
original = vectors.keys[originals[len(originals) // 3]]
crop = np.fliplr(np.rot90(vectors[original]))[2:24, 4:26]
crop = resize_image(crop, (28, 28))
pattern = PairwiseModel(k_candidates=6, features=PatternFeatures(), orientation="any")
pattern.fit(originals_df)
found = pattern.predict(crop)
print(f"{original} is ranked first: {found.index[0] == original}")
found.round(3)

# %% [markdown]
# **What the figure shows.** The crop in red and the pictures that match it best, with
# the rotation that aligns them. Only the first is its original: with a `verification`
# below 0.1 a match is most likely the same picture, above 0.3 hardly ever.

# %%
Plots.plot_matches(found, metadata, candidate=crop)

# %% [markdown]
# **Result.** The choice of features matters far more than whether all pictures or one
# cluster are searched. In a shell: `geoimages similar rocks.h5 photo.jpg --features
# rock --explain`, or `--features pattern`.
