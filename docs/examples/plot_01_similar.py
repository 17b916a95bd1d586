"""
Finding similar pictures
========================

Find the pictures most similar to a candidate, and see why they were found.

A collection is one file that holds pictures, their keys and their classes. Usually
``Collection.create`` makes it from a zip or a folder; here the rocks are drawn.
"""

# sphinx_gallery_thumbnail_number = 2

from pathlib import Path
from tempfile import mkdtemp

from geoimages import Collection, PairwiseModel, Plots, RockFeatures, make_rocks

images, labels = make_rocks(480, image_shape=(48, 48, 3), random_state=0)
rocks = Collection.from_arrays(Path(mkdtemp()) / "rocks.h5", images, labels)
print(rocks)

# %%
# The candidate is a marble. Pixel by pixel, light and dark must be in the same places,
# and the matches hardly look similar.

candidate = rocks.keys[rocks.where(label="marble")[4]]
pixels = PairwiseModel(k_candidates=6).fit(rocks)
Plots.plot_matches(pixels.predict(candidate), rocks, candidate=candidate)

# %%
# ``RockFeatures`` describe color, texture, learned filters and tone, regardless of
# their position in the picture. ``explain=True`` divides each distance among these
# blocks: the bar below a match is its distance, colored by block.

model = PairwiseModel(k_candidates=6, features=RockFeatures()).fit(rocks)
matches = model.predict(candidate, explain=True)
Plots.plot_matches(matches, rocks, candidate=candidate)

# %%
# Every model returns the same kind of table: the key, the distance and a similarity of
# 1 for the identical picture. The contributions of the blocks add up to the distance.

matches.round(3)

# %%
# Over many queries, the precision: the share of matches of the query's class.

queries, classes = rocks.keys[:100].tolist(), rocks.labels[:100]
print(f"pixels        {pixels.score(queries, classes):.2f}")
print(f"RockFeatures  {model.score(queries, classes):.2f}")
