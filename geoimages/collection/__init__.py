"""Collections of pictures: the .h5 file, its sources, lineage, duplicates, splits."""
