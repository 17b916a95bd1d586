# %% [markdown]
# # From a zip of pictures to training data
#
# **Question.** A zip holds folders of rock pictures, one folder per class. How does it
# become arrays for training, and what happens to files that are not pictures?
#
# **Data.** A small sample is drawn here, with three damaged files in it. To use the
# public archive, set the environment variable `GEOIMAGES_DATA` to the folder that holds
# `geological_similarity.zip`. (Despite its folder names, that archive shows aerial
# land-cover tiles: treat the names as labels.)

# %%
import os
import shutil
from pathlib import Path

import pandas as pd

from geoimages import Collection, Images, Plots, find_duplicates, split, write_rocks

pd.set_option("display.max_colwidth", None)  # show paths whole

data = os.environ.get("GEOIMAGES_DATA")
work = Path("work", "archive" if data else "drawn")
work.mkdir(parents=True, exist_ok=True)
if data:
    archive = Path(data, "geological_similarity.zip")
else:
    archive = write_rocks(work / "rocks.zip", 480, random_state=0, n_damaged=3)

# %% [markdown]
# ## Step by step
#
# `Images` has the steps of the proof of concept: unzip, set a tenth of each class aside
# for development, list the pictures, read them. The seed makes the sample reproducible,
# and duplicates go to the same side.

# %%
folder = work / "classification"
shutil.rmtree(folder, ignore_errors=True)  # so that the notebook can be run again
images = Images(folder / "images", data_path=folder / "data", dev_path=folder / "dev")
files = images.unzip_images(archive)
sampled = images.sample_images(0.1, random_state=0)
print(f"{len(files):,} files, of which {len(sampled):,} are moved to {folder / 'dev'}")

# %% [markdown]
# The metadata list each picture with its size and label. Unreadable files are listed in
# `errata`, with the reason; they do not stop the run.

# %%
metadata = images.generate_image_metadata(exp_size=(28, 28, 3))
images.write_json(metadata, "metadata.json")
pd.DataFrame(metadata["images"]).T[["file_name", "size", "label"]].head(3)

# %%
pd.DataFrame(metadata["errata"], columns=["file_path", "reason"])

# %% [markdown]
# `images_to_x_y` reads the pictures as one array of integers, 0 to 255, and their
# labels.

# %%
x, y = images.images_to_x_y()
print(f"x: {x.shape} {x.dtype}, y: {y.shape}")
pd.Series(y).value_counts().sort_index().rename_axis("class").to_frame("pictures")

# %% [markdown]
# They can be saved to an `.h5` file and loaded again without loss.

# %%
keys = list(metadata["images"])
Collection.from_arrays(folder / "train.h5", x, y, keys).close()
with Collection(folder / "train.h5") as train:
    loaded, labels = train.x_y()
print(f"the same: {(loaded == x).all() and (labels == y).all()}")

# %% [markdown]
# ## The shorter way
#
# `Collection.create` reads the zip itself, in one pass, and records every file it saw
# in the *ledger*. A collection displays its classes, a few pictures of each, and what
# was refused.

# %%
rocks = Collection.create(work / "rocks.h5", archive)
rocks

# %%
rocks.ledger.query("status == 'refused'")[["path", "reason", "size"]]

# %% [markdown]
# **What the figure shows.** A random sample of each class, with the number of pictures.
# Look for pictures in the wrong row, and for classes that differ in color alone: a
# model will learn just that.

# %%
Plots.sample_sheet(rocks)

# %% [markdown]
# Before splitting off a test part, find duplicates: a picture in the training part with
# a duplicate in the test part makes a model look better than it is. `find_duplicates`
# also finds rotated, relit or compressed copies, and `split` keeps each group of
# duplicates on one side.

# %%
copies = find_duplicates(rocks)
print(copies.summary())

# %%
parts = split(rocks, test_size=0.15, dev_size=0.15, duplicates=copies, random_state=0)
side = pd.Series("train", index=rocks.keys)
side.iloc[parts.dev], side.iloc[parts.test] = "dev", "test"
pd.crosstab(rocks.labels, side.to_numpy(), rownames=["class"], colnames=["part"])

# %% [markdown]
# **Result.** One line created the collection, every file is accounted for, and the
# split is stratified by class without duplicates across its parts. The other notebooks
# start from `rocks.h5`; in a shell, `geoimages etl rocks.zip -o rocks.h5` creates it.
