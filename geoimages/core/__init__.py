"""Core photographs: rows of trays, the straightened core, and its depth."""
