"""Labels that people give on the page: a CSV beside the collection."""

import threading
from pathlib import Path

import pandas as pd

from ..collection.tables import labels_by_key
from ..collection.text import to_csv
from ..files import atomic_path

_LONGEST = 100  # characters of a label
_STEPS = 1000  # that can be undone


class LabelFile:
    """A CSV with the columns ``file`` (the key) and ``label``, written whole each time.

    `geoimages etl --metadata` and `geoimages train --labels` take it.

    Parameters
    ----------
    path : path-like
        The file; it appears with the first label.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._lock, self._steps = threading.Lock(), []

    def read(self):
        """Return the labels by key: dict of str."""
        return labels_by_key(self.path) if self.path.is_file() else {}

    def put(self, keys, label, who):
        """Label pictures, and remember who did, for `undo`.

        Parameters
        ----------
        keys : list of str
            Pictures that are labeled together.
        label : str
            Their class.
        who : str
            Names the visitor.

        Raises
        ------
        ValueError
            If the label is empty, too long or not a line of text.
        """
        label = " ".join(label.split())
        if not 0 < len(label) <= _LONGEST or not label.isprintable():
            raise ValueError(
                f"A label has 1 to {_LONGEST} characters that can be read."
            )
        with self._lock:
            labels = self.read()
            before = {key: labels.get(key) for key in keys}
            self._write(labels | dict.fromkeys(keys, label))
            self._steps = [*self._steps[-_STEPS:], (who, before)]

    def undo(self, who):
        """Take back a visitor's last step; return its keys, or nothing."""
        with self._lock:
            for i in reversed(range(len(self._steps))):
                if self._steps[i][0] == who:
                    _, before = self._steps.pop(i)
                    labels = self.read() | before
                    self._write({k: v for k, v in labels.items() if v is not None})
                    return list(before)
        return []

    def _write(self, labels):
        table = pd.DataFrame({"file": labels.keys(), "label": labels.values()})
        with atomic_path(self.path) as temporary:
            to_csv(table, path_or_buf=temporary, index=False)
