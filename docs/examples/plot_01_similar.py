"""
What is most like this picture?
===============================

Ask a collection for the pictures most like one, and ask why they were found.

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
# The candidate is a marble. Compared pixel by pixel, light and dark must stand in the
# same places, and what comes back hardly looks alike.

candidate = rocks.keys[rocks.where(label="marble")[4]]
pixels = PairwiseModel(k_candidates=6).fit(rocks)
Plots.plot_matches(pixels.predict(candidate), rocks, candidate=candidate)

# %%
# ``RockFeatures`` describe color, texture, learned filters and tone, wherever in the
# picture they are. With ``explain=True`` each distance is shared out between them: the
# bar below a match is its distance, and its colors say what that is made of.

model = PairwiseModel(k_candidates=6, features=RockFeatures()).fit(rocks)
matches = model.predict(candidate, explain=True)
Plots.plot_matches(matches, rocks, candidate=candidate)

# %%
# The answer is a table, the same from every model: the key, the distance and a
# similarity of 1 for the identical picture. The shares add up to the distance.

matches.round(3)

# %%
# Over many candidates, the share of what is found that is of the candidate's class:

asked, classes = rocks.keys[:100].tolist(), rocks.labels[:100]
print(f"pixels        {pixels.score(asked, classes):.2f}")
print(f"RockFeatures  {model.score(asked, classes):.2f}")
