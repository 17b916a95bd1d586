# %% [markdown]
# # What is this picture, and how reliable is the answer?
#
# **Question.** A trained model classifies new pictures. Which classes does it predict,
# when can it be trusted, and how does it respond to a picture that is not a rock?
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
# here and saved, with the keys of the held-out test pictures.

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
print(f"{len(keys):,} held-out pictures; accuracy {accuracy:.3f}")

# %% [markdown]
# ## One picture, step by step
#
# Read a picture file, then predict its class and the probability of each class.

# %%
photos = work / "photos"
photos.mkdir(exist_ok=True)
Image.fromarray(rocks[keys[0]]).save(photos / "held out.png")

picture = Images.read_image(photos / "held out.png")
proba = model.predict_proba(picture[np.newaxis])[0]
print(
    f"true: {keys[0].split('.')[0]}, predicted: {model.predict(picture[np.newaxis])[0]}"
)
pd.Series(proba, index=model.classes_, name="probability").round(3).to_frame()

# %% [markdown]
# ## Many files, good and bad
#
# `classify_files` takes files of any size. Besides the probability it returns the
# **novelty**: the distance of a picture from the training pictures, as a percentile.
# Above 99 it is unlike the collection, and its class means little. Four files to try:
# the one above, a drawn schist of another size (out of distribution for a model of the
# archive's aerial tiles), a cat, and a file that is not a picture.

# %%
drawn, drawn_labels = make_rocks(6, image_shape=(112, 112, 3), random_state=1)
schist = int(np.flatnonzero(drawn_labels == "schist")[0])
Image.fromarray(drawn[schist]).save(photos / "drawn schist.png")
Image.fromarray(skimage.data.cat()).save(photos / "cat.png")
(photos / "no picture.jpg").write_text("This picture was moved to the archive server.")
names = ["held out.png", "drawn schist.png", "cat.png", "no picture.jpg"]
table = classify_files(model, [photos / name for name in names])
table.round(3)

# %% [markdown]
# The model always predicts one of its classes, even for the cat. The novelty and the
# note say that this one should not count.
#
# ## The held-out pictures
#
# The table lists those with the lowest probability. Where a model is this uncertain, a
# person should check.

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
# Accepting only confident answers: the accuracy above a threshold on the probability,
# and the share of pictures above it.

# %%
correct = answers["true"] == answers["predicted"]
pd.DataFrame(
    [
        {
            "probability at least": least,
            "share of pictures": (answers["probability"] >= least).mean(),
            "accuracy": correct[answers["probability"] >= least].mean(),
        }
        for least in (0, 0.5, 0.7, 0.9)
    ]
).round(3)

# %% [markdown]
# **What the figure shows.** A row for each *predicted* class. A picture that looks out
# of place in its row is probably misclassified.

# %%
Plots.sample_sheet(images, answers["predicted"], n_per_class=6)

# %% [markdown]
# **What the figure shows.** The 128 activations of the last hidden layer, projected to
# two dimensions: pictures that the model considers similar are close. Where two colors
# overlap, the model confuses classes.

# %%
Plots.embedding_plot(model.transform(images), labels, "pca", images=images)

# %% [markdown]
# **Result.** Probability and novelty together tell which answers can be used directly
# and which a person should check. In a shell: `geoimages classify model.skops
# photo.jpg`.
