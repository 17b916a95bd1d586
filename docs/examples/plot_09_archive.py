"""
An archive with bad files
=========================

One bad file must not stop a run over thirty thousand. Every file has a ledger row.

The zip holds 90 drawn rocks and damaged files typical of old archives; a text file and
a picture of another size are added.
"""

import zipfile
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from geoimages import Collection, Plots, write_rocks

folder = Path(mkdtemp())
path = write_rocks(folder / "rocks.zip", 90, random_state=0, n_damaged=8)
with zipfile.ZipFile(path) as archive:
    archive.extractall(folder)
(folder / "rocks" / "notes.txt").write_text("taken in May")
large = np.tile(np.arange(0, 240, 2, np.uint8)[:, None, None], (1, 160, 3))
Image.fromarray(large).save(folder / "rocks" / "gneiss" / "IMG_0042.png")

rocks = Collection.create(folder / "rocks.h5", folder / "rocks")
print(rocks.summary())

# %%
# The ledger is a DataFrame with the reason for every refusal.

refused = rocks.ledger.query("status == 'refused'")
refused[["path", "reason", "detail"]]

# %%
fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
reasons = refused["reason"].value_counts()[::-1]
ax.barh(reasons.index, reasons, color="#b5402a", height=0.6)
ax.set(xlabel="files refused")
ax.xaxis.get_major_locator().set_params(integer=True)
ax.spines[["top", "right"]].set_visible(False)

# %%
# A picture of another size is refused, too, unless ``size`` is given. Then all pictures
# are resized to it, and the ledger says which were changed.

rocks = Collection.create(folder / "sized.h5", folder / "rocks", size=(28, 28))
print(rocks.ledger.query("fit != ''")[["path", "width", "height", "fit"]])
Plots.sample_sheet(rocks, n_per_class=8)
