# %% [markdown]
# # Where in the core, and at what depth?
#
# **Question.** Boxes of core were photographed for years. Where, at what depth of
# which hole, does a piece of rock occur again, and which rocks does each hole cut?
#
# **Data.** Drawn photographs of core boxes from three holes. Set `GEOIMAGES_DATA` to
# the folder that holds `core/column1.jpeg` and others to see real sandstone in drawn
# boxes.

# %%
import os
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from geoimages import (
    ConvNetClassifier,
    PairwiseModel,
    Plots,
    coverage,
    evaluate_classifier,
    locate,
    log_core,
    make_tray,
    read_box,
    read_image,
    tile_core,
    train_classifier,
    tray_rows,
    write_core,
)

data = os.environ.get("GEOIMAGES_DATA")
work = Path("work", "core-real" if data else "core")
work.mkdir(parents=True, exist_ok=True)
if data:
    beds = None
    for i, path in enumerate(sorted(Path(data, "core").glob("column*.jpeg")), 1):
        core = np.rot90(read_image(path))
        core = np.asarray(Image.fromarray(core).resize((2400, 240)))
        tray = make_tray([core[:, :1200], core[:, 1200:]], random_state=i)
        Image.fromarray(tray.image).save(work / f"COLUMN{i}_1_0_2.jpg", quality=92)
else:
    beds = write_core(
        work, 3, 1, n_rows=4, n_classes=3, row_shape=(90, 800), random_state=3
    )
photos = sorted(work.glob("*.jpg"))
print(*(photo.name for photo in photos), sep="\n")

# %% [markdown]
# ## Rows of core
#
# The names tell hole, box and depth. Rows are found on each photograph and written to
# a file beside it, where their corners can be corrected.

# %%
rows = {photo.name: (read_image(photo), tray_rows(photo)) for photo in photos}
Plots.rows(rows, figsize=(8, 2))

# %% [markdown]
# **What the figure shows.** Each frame is a row, with its number where it begins and
# an arrow down the hole. Blocks and gaps lie inside the frames.
#
# ## Tiles of known depth
#
# The rows are straightened and cut into tiles. Each knows its hole and its depth, so
# that a part of a hole is one condition.

# %%
tiles = tile_core(work / "tiles.h5", photos, beds=beds, size=64, scales=1)
hole = sorted(tiles.table["hole"].unique())[0]
start = tiles.table.loc[tiles.table["hole"] == hole, "depth_from"].min()
part = tiles.where(hole=hole, depth=f"{start + 0.5}..{start + 1}")
print(f"{len(tiles):,} tiles, {len(part)} of them of half a meter of {hole}")

# %% [markdown]
# ## The same piece of rock
#
# A part of one photograph, turned, is searched for in all of them.

# %%
corners = rows[photos[0].name][1][1]
side = int(0.8 * np.linalg.norm(corners[3] - corners[0]))
x, y = (corners.mean(axis=0) - side / 2).astype(int)
crop, _ = read_box(photos[0], (x, y, side, side))
crop = np.rot90(crop)
matches = locate(PairwiseModel(), tiles, crop, k=2)
print(matches[["photo", "depth_from", "depth_to", "similarity", "found"]])
Plots.boxes(matches[:1], tiles, crop, figsize=(9, 2.8))

# %% [markdown]
# **What the figure shows.** The first answer, the place that the crop was cut from, with
# its depth and the angle by which the crop was turned. The second of the table is not
# found: nothing else counts as the same place.
#
# ## Rock of the same kind, down the hole
#
# Where is rock that merely looks alike? Its similarity is logged along each hole;
# these are the depths at which it is highest.

# %%
log = log_core(tiles, crop, window=0.2)
print(log.loc[log.groupby("hole")["similarity"].idxmax()].round(2))

# %% [markdown]
# ## Classes down the hole
#
# Where beds are labeled, a classifier learns from some holes and is scored on another.
# Tiles of one hole never lie on both sides: neighbors share rock, and a random split
# flatters every score.

# %%
if beds is not None:
    model = ConvNetClassifier(augment=None, random_state=0)
    model, scores, keys = train_classifier(tiles, model, random_state=0)
    held_out = tiles.table.loc[keys, "hole"].unique().tolist()
    by_depth = evaluate_classifier(model, tiles)["depth"]
    print(f"hole {', '.join(held_out)} was held out")
    print(f"macro-F1 per centimeter: {by_depth['macro_f1']:.2f}")
    classes = log_core(tiles, model=model, window=0.1)

# %%
if beds is not None:
    intervals = pd.DataFrame({"from": [100, 102], "to": [102, 104]})
    print(coverage(classes, intervals).drop(columns=["logged", "area"]).round(2))
logs = [log] if beds is None else [classes, log]
(page,) = Plots.strip(tiles, logs, figsize=(8, 4.6))
page

# %% [markdown]
# **What the figure shows.** The core of each hole on one depth axis; beside it the
# class of each depth, its probability, averaged over 10 cm, and the similarity to the
# crop, over 20 cm. Similarity is highest at the depth of the crop; the other high part
# is a bed of the same rock in BH2. The classes are unsure, as probabilities of about
# 0.5 say and the score confirms: two holes hold too few beds to learn from.
#
# **Result.** A piece of core is found again to the centimeter; similar rock and
# classes are logged along every hole, and summed up over any intervals, as a CSV that
# logging software reads.
