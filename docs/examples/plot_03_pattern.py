"""
Where else is this very pattern?
================================

A part of a picture is turned and mirrored, and found again.

``PatternFeatures`` look for the same pattern, not for the same kind of rock: the
candidate is laid over a short list in every pose, and the answer says how it was turned.
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
# The candidate: 48 of 64 pixels of one gneiss, mirrored, turned by a quarter and a
# little darker, as in a photograph of another day.

original = rocks.keys[rocks.where(label="gneiss")[7]]
part = rocks[original][10:58, 6:54]
part = np.rot90(part[:, ::-1]) * 0.85
candidate = resize_image(part.astype(np.uint8), (64, 64))

model = PairwiseModel(4, features=PatternFeatures(), orientation="any").fit(rocks)
matches = model.predict(candidate)
Plots.plot_matches(matches, rocks, candidate=candidate)

# %%
# ``verification`` says how well the two lie on each other (0 is the same). The true
# picture stands apart from the rest; the classes of the others do not matter.

print("cut from", original)
matches.round(3)
