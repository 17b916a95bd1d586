"""Copying pictures, with all that is known of them, from a collection to another."""

import hashlib
from functools import partial

import numpy as np
import pandas as pd

from .file import block_length
from .tables import write_metadata

OWN = ("label", "source", "sha256", "ledger_row", "turn", "lineage")
"""Columns of a table that are not of the metadata."""


def tables_of(collection):
    """The table and the ledger of a collection, made up where it has none."""
    table, ledger = collection.table, collection.ledger
    if len(ledger):
        return table, ledger
    # The layout of the proof of concept.
    table["ledger_row"] = range(len(collection))
    table["sha256"] = [
        hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in collection
    ]
    rows = [
        {"path": "", "status": "kept", "sha256": sha256} for sha256 in table["sha256"]
    ]
    return table, pd.DataFrame(rows)


def copy_rows(writer, collection, table, ledger, pictures, files):
    """Copy pictures (a slice) and rows of the ledger (another) of a collection."""
    for row in ledger[files].to_dict("records"):
        writer.ledger.append(row)
    names = [name for name in ("source", "sha256", "turn") if name in table]
    about = table[["label", "ledger_row", *names]][pictures]
    rows = zip(about.index, about.to_dict("records"), strict=True)
    step = block_length(collection.image_shape)
    for start in range(pictures.start, pictures.stop, step):
        for image in collection[start : min(start + step, pictures.stop)]:
            key, row = next(rows)
            row["ledger_row"] -= files.start
            writer.add(image, keys=str(key), labels=str(row.pop("label")), **row)


def copy_metadata(collection, table, pictures, last=True):
    """What writes the metadata of some pictures, or None where there is none.

    Rows that match no picture go with the last ones.
    """
    frame = table.drop(columns=list(OWN), errors="ignore")[pictures]
    files = collection.files
    had = any(files[i].unmatched() is not None for i in range(len(files)))
    if not len(frame.columns) and not had:
        return None
    unmatched = collection.unmatched if last else []
    frame = frame.reset_index(drop=True)
    return partial(write_metadata, frame=frame, unmatched=unmatched)
