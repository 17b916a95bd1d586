"""
Core: rows, depth, and a log down the hole
==========================================

Photographs of core trays become tiles of known depth, and a picture a log.

The boxes of two holes are drawn; their names tell hole, box and depth.
"""

from pathlib import Path
from tempfile import mkdtemp

from geoimages import Plots, log_core, read_image, tile_core, tray_rows, write_core

folder = Path(mkdtemp())
beds = write_core(folder, 2, 1, n_rows=4, row_shape=(80, 700), random_state=1)
photos = sorted(folder.glob("*.jpg"))

# %%
# Rows are found, and written beside each photograph, where they can be corrected.

rows = {photo.name: (read_image(photo), tray_rows(photo)) for photo in photos}
Plots.rows(rows)

# %%
# Straightened and cut into tiles, the core is searched and logged by depth: here for
# rock like that of the first hole at 101.5 m.

tiles = tile_core(folder / "tiles.h5", photos, size=64, scales=1)
like = tiles[tiles.where(hole="BH1", depth="101.5")[0]]
log = log_core(tiles, like, window=0.2)
Plots.strip(tiles, log)[0]
