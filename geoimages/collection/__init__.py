"""The .h5 file of pictures, its sources, lineage, copies and splits."""
