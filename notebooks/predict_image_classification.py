# %% [markdown]
# # What is this picture, and how sure is that?
#
# **Question.** A trained model is given pictures it never saw. What does it take them
# for, when should it be believed, and what does it say to a picture that is no rock at
# all?
#
# **Data.** A small drawn sample. Set `GEOIMAGES_DATA` to the folder that holds
# `geological_similarity.zip` to use the public archive.

# %%
import os
from pathlib import Path

import numpy as np
import pandas as pd
import skimage.data
from PIL import Image

from geoimages import (
    Collection,
    ConvNetClassifier,
    Images,
    Plots,
    classify_files,
    load,
    make_rocks,
    save,
    train_classifier,
    write_rocks,
)

pd.set_option("display.max_colwidth", None)  # show notes whole

data = os.environ.get("GEOIMAGES_DATA")
work = Path("work", "archive" if data else "drawn")
work.mkdir(parents=True, exist_ok=True)
if data:
    archive = Path(data, "geological_similarity.zip")
else:
    archive = write_rocks(work / "rocks.zip", 480, random_state=0, n_damaged=3)

# %% [markdown]
# The model is that of `train_image_classification`. If it is missing, one is trained
# here and saved, with the keys of the pictures that were held back to test it.

# %%
path = work / "rocks.h5"
rocks = Collection(path) if path.exists() else Collection.create(path, archive)
path = work / "model.skops"
if not path.exists():
    model = ConvNetClassifier(max_epochs=18 if data else 6, random_state=0)
    model, scores, test_keys = train_classifier(rocks, model)
    save(model, path, scores, test_keys)
model = load(path)
keys = model.about_["test_keys"]
accuracy = model.about_["scores"]["accuracy"]
print(f"{len(keys):,} pictures were held back; accuracy on them {accuracy:.3f}")

# %% [markdown]
# ## One picture, step by step
#
# Read a picture file, ask for its class and for the probability of each class.

# %%
photos = work / "photos"
photos.mkdir(exist_ok=True)
Image.fromarray(rocks[keys[0]]).save(photos / "held back.png")

picture = Images.read_image(photos / "held back.png")
answer = model.predict_proba(picture[np.newaxis])[0]
print(
    f"true: {keys[0].split('.')[0]}, predicted: {model.predict(picture[np.newaxis])[0]}"
)
pd.Series(answer, index=model.classes_, name="probability").round(3).to_frame()

# %% [markdown]
# ## Many files, good and bad
#
# `classify_files` takes files of any size. Beside the probability it tells the
# **novelty**: how far a picture lies from all it learned from, as a percentile. Above
# 99 it is unlike the collection, and its class means little. Four files to try: the one
# above, a drawn schist of another size (among the aerial tiles of the archive a
# stranger), a cat, and a file that is no picture.

# %%
drawn, drawn_labels = make_rocks(6, image_shape=(112, 112, 3), random_state=1)
schist = int(np.flatnonzero(drawn_labels == "schist")[0])
Image.fromarray(drawn[schist]).save(photos / "drawn schist.png")
Image.fromarray(skimage.data.cat()).save(photos / "cat.png")
(photos / "no picture.jpg").write_text("This picture was moved to the archive server.")
names = ["held back.png", "drawn schist.png", "cat.png", "no picture.jpg"]
table = classify_files(model, [photos / name for name in names])
table.round(3)

# %% [markdown]
# A class is always the nearest of those learned: the cat gets one, too. The novelty and
# the note tell that it should not count.
#
# ## The pictures held back
#
# The table lists those with the lowest probability. Where a model is this unsure, a
# person should look.

# %%
images, labels = rocks[keys], rocks.labels[[rocks.position(key) for key in keys]]
proba = model.predict_proba(images)
answers = pd.DataFrame(
    {
        "true": labels,
        "predicted": model.classes_[proba.argmax(axis=1)],
        "probability": proba.max(axis=1).round(3),
        "novelty": model.novelty(images).round(1),
    },
    index=pd.Index(keys, name="key"),
)
answers.nsmallest(8, "probability")

# %% [markdown]
# Believing only what is sure: how right the answers are above a probability, and what
# share of the pictures that leaves.

# %%
right = answers["true"] == answers["predicted"]
pd.DataFrame(
    [
        {
            "probability at least": least,
            "share of pictures": (answers["probability"] >= least).mean(),
            "accuracy": right[answers["probability"] >= least].mean(),
        }
        for least in (0, 0.5, 0.7, 0.9)
    ]
).round(3)

# %% [markdown]
# **What the figure shows.** A row for each class that was *predicted*. A picture that
# looks out of place in its row is a likely mistake.

# %%
Plots.sample_sheet(images, answers["predicted"], n_per_class=6)

# %% [markdown]
# **What the figure shows.** The last hidden layer of the network holds 128 numbers a
# picture, brought down to two here: pictures that the model finds alike lie together.
# Where two colors meet, the model mixes classes up.

# %%
Plots.embedding_plot(model.transform(images), labels, "pca", images=images)

# %% [markdown]
# **Result.** Probability and novelty together say which answers can be used as they are
# and which a person should look at. In a shell: `geoimages classify model.skops
# photo.jpg`.
