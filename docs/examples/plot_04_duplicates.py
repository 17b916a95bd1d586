"""
Duplicates and inflated scores
==============================

Duplicates on both sides of a split make any model look good. Find them first.

Archives collect duplicates over the years: rotated, recompressed, relit. Here 40 of 160
pictures get such a duplicate.
"""

import io
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsClassifier

from geoimages import Collection, find_duplicates, groups_of, make_rocks

images, labels = make_rocks(160, image_shape=(48, 48, 3), random_state=3)


def compressed(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


copies = np.stack(
    [
        images[0:40:4],  # identical
        np.rot90(images[1:40:4], axes=(1, 2)),
        [compressed(image, 60) for image in images[2:40:4]],
        (images[3:40:4] * 0.9).astype(np.uint8),
    ],
    axis=1,
).reshape(40, 48, 48, 3)
images, labels = np.concatenate([images, copies]), np.append(labels, labels[:40])
rocks = Collection.from_arrays(Path(mkdtemp()) / "rocks.h5", images, labels)

found = find_duplicates(rocks)
print(found.summary())

# %%
# Each row of ``pairs`` is a picture, the one that it duplicates, and its rotation.

found.pairs.head(4)[["key", "duplicate_of", "kind", "orientation", "similarity"]]

# %%
shown = found.pairs.head(4)
fig, axes = plt.subplots(2, 4, figsize=(6.4, 3.6), layout="constrained")
for (upper, lower), (_, pair) in zip(axes.T, shown.iterrows(), strict=True):
    upper.imshow(rocks[pair["duplicate_of"]])
    lower.imshow(rocks[pair["key"]])
    lower.set_xlabel(f"{pair['kind']}, {pair['orientation']}°")
    for ax, name in ((upper, "duplicate_of"), (lower, "key")):
        ax.set(xticks=[], yticks=[])
        ax.set_title(pair[name], fontsize=9)

# %%
# How do they affect a score? A nearest-neighbor classifier is cross-validated twice:
# with random folds, and with duplicates kept on one side of every fold.

rows = images.reshape(len(images), -1) / 255
nearest = KNeighborsClassifier(1, metric="correlation")
groups = groups_of(rocks, duplicates=found)
splits = {
    "random folds": (StratifiedKFold(5, shuffle=True, random_state=0), None),
    "duplicates grouped": (
        StratifiedGroupKFold(5, shuffle=True, random_state=0),
        groups,
    ),
}
for name, (folds, grouped) in splits.items():
    scores = cross_val_score(nearest, rows, labels, groups=grouped, cv=folds)
    print(f"{name:22} {scores.mean():.2f}")
