"""
Finding the same pattern
========================

A crop of a picture is rotated and mirrored, and its original is found.

``PatternFeatures`` look for the same pattern, not for the same kind of rock: the
candidate is aligned with each picture of a short list, and the answer gives the
rotation.
"""

from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from geoimages import (
    Collection,
    PairwiseModel,
    PatternFeatures,
    Plots,
    make_rocks,
    resize_image,
)

images, labels = make_rocks(150, image_shape=(64, 64, 3), random_state=2)
rocks = Collection.from_arrays(Path(mkdtemp()) / "rocks.h5", images, labels)

# %%
# The candidate: a crop of 48 of 64 pixels of a gneiss, mirrored, rotated by 90° and a
# little darker, as in a photograph of another day.

original = rocks.keys[rocks.where(label="gneiss")[7]]
part = rocks[original][10:58, 6:54]
part = np.rot90(part[:, ::-1]) * 0.85
candidate = resize_image(part.astype(np.uint8), (64, 64))

model = PairwiseModel(4, features=PatternFeatures(), orientation="any").fit(rocks)
matches = model.predict(candidate)
Plots.plot_matches(matches, rocks, candidate=candidate)

# %%
# ``verification`` measures how well the two align (0 is identical). The original is
# well separated from the rest; the classes of the others do not matter.

print("cropped from", original)
matches.round(3)
