"""Where pictures come from: a folder or a zip of class folders, listed and named."""

import contextlib
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from .lineage import split_turn
from .reading import PICTURE_SUFFIXES


def is_picture_name(path):
    """Whether a file's name is that of a picture."""
    path = PurePosixPath(path)
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


@dataclass(frozen=True)
class Entry:
    """One file of a source: its path in it, its key and the folder it lies in."""

    path: str
    key: str
    label: str


def picture_key(path):
    """Return (key, label) of a picture: its folder's name prefixes its own.

    Examples
    --------
    >>> picture_key("rocks/marble/MGN0Z.jpg")
    ('marble.MGN0Z', 'marble')
    >>> picture_key("marble/marble.MGN0Z.90.jpg")
    ('marble.MGN0Z.90', 'marble')
    """
    path = PurePosixPath(path)
    label = path.parent.name
    named = not label or path.stem.startswith(f"{label}.")
    return path.stem if named else f"{label}.{path.stem}", label


def _picture_keys(paths):
    """Name pictures uniquely: their folders tell apart what shares a key, then formats.

    A picture and its turned copies are told apart from others in the same way, and
    the turn stays at the end, so that `lineage_of` knows them by their keys.
    """
    names = {path: split_turn(picture_key(path)[0]) for path in paths}
    folders = {}
    for path, (base, _) in names.items():
        folders.setdefault(base, set()).add(PurePosixPath(path).parent)
    for path, (base, turn) in names.items():
        if len(folders[base]) > 1:
            above = PurePosixPath(path).parts[:-2]
            names[path] = ".".join([*above, base]), turn
    count = Counter(names.values())
    keys = {}
    for path, (base, turn) in names.items():
        same = count[base, turn] > 1 or count[base, ""] > 1
        keys[path] = base + (PurePosixPath(path).suffix if same else "") + turn
    count = Counter(keys.values())
    return {path: key if count[key] == 1 else path for path, key in keys.items()}


def _entries(paths):
    """Name every path."""
    keys = _picture_keys([path for path in paths if is_picture_name(path)])
    entries = []
    for path in paths:
        key, label = picture_key(path)
        entries.append(Entry(path, keys.get(path, key), label))
    return entries


class _Folder:
    """The files below a folder."""

    def __init__(self, root):
        self.root = root
        self.entries = _entries(
            sorted(
                path.relative_to(root).as_posix()
                for path in root.rglob("*")
                if path.is_file()
            )
        )

    def read(self, entry):
        return (self.root / entry.path).read_bytes()

    def close(self):
        pass


class _Zip:
    """The files inside a zip, read where they lie."""

    def __init__(self, path):
        self._zip = open_zip(path)
        self.entries = _entries(
            sorted({i.filename for i in self._zip.infolist() if not i.is_dir()})
        )

    def read(self, entry):
        return self._zip.read(entry.path)

    def close(self):
        self._zip.close()


def open_zip(path):
    """Open a zip whose members all lie inside of it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no zip, or a member's path is absolute or climbs out.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"No zip at {path}; give the path of one.") from None
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path} is not a whole zip ({error}); give a folder or a whole zip."
        ) from None
    for name in archive.namelist():
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in (*parts, "")[0]:
            archive.close()
            raise ValueError(
                f"{path} holds {name!r}, which climbs out of the folder it is unpacked "
                "to; nothing was taken from it."
            )
    return archive


@contextlib.contextmanager
def open_source(source):
    """List a folder or zip of pictures.

    Parameters
    ----------
    source : str or path-like
        A folder or zip. A picture's folder is its class.

    Yields
    ------
    source : object
        With ``entries`` (list of `Entry`, sorted by path) and ``read(entry)``, which
        returns bytes.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If the file is no zip.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(
            f"No such folder or zip: {source}; give one that holds pictures."
        )
    opened = _Folder(source) if source.is_dir() else _Zip(source)
    try:
        yield opened
    finally:
        opened.close()


def deal_groups(counts, targets, random_state=None):
    """Deal whole groups to parts, so that each part gets its number of each class.

    Large groups first, each to the part whose counts it brings nearest to the targets,
    and to the size they add up to, by the sum of squared gaps over the target.

    Parameters
    ----------
    counts : ndarray of shape (n_groups, n_classes), int
        Pictures of each class in each group.
    targets : ndarray of shape (n_parts, n_classes)
        Pictures of each class that each part should get.
    random_state : int, RandomState or None, default=None
        Seed of the order among groups of one size.

    Returns
    -------
    parts : ndarray of shape (n_groups,), int
    """
    # The size counts, too, and more: many small classes would all round down.
    counts, targets = (
        np.column_stack([table, table.sum(axis=1)]) for table in (counts, targets)
    )
    order = check_random_state(random_state).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    gaps, scale = -targets.astype(float), np.maximum(targets, 1e-3)
    scale[:, -1] /= 4
    parts = np.empty(len(counts), int)
    for group in order:
        cost = (counts[group] * (2 * gaps + counts[group]) / scale).sum(axis=1)
        parts[group] = cost.argmin()
        gaps[parts[group]] += counts[group]
    return parts


def count_classes(labels, groups):
    """Count the pictures of each class in each group.

    Parameters
    ----------
    labels, groups : sequence of length n
        Class and group of each picture.

    Returns
    -------
    counts : ndarray of shape (n_groups, n_classes), int
        The classes sorted, the groups in order of first occurrence.
    group : ndarray of shape (n,), int
        Row of each picture's group.
    """
    group, names = pd.factorize(np.asarray(groups))
    classes, label = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.zeros((len(names), len(classes)), int)
    np.add.at(counts, (group, label), 1)
    return counts, group


def sample_groups(labels, groups, share, random_state=None):
    """Choose a share of each class, whole groups at a time.

    Parameters
    ----------
    labels, groups : sequence of length n
        Class of each picture, and what must stay together (an original and its
        turned copies), whatever its classes.
    share : float
        Share of each class to take, in (0, 1]; at least one picture is taken.
    random_state : int, RandomState or None, default=None
        Seed.

    Returns
    -------
    chosen : ndarray of shape (n,), bool

    Raises
    ------
    ValueError
        If `share` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(
            f"sample_percent is a share above 0 and up to 1, got {share!r}; "
            "0.1 takes a tenth."
        )
    counts, group = count_classes(labels, groups)
    all_of = counts.sum(axis=0)
    taken = np.maximum(share * all_of, np.minimum(1, all_of))
    parts = deal_groups(counts, np.stack([taken, all_of - taken]), random_state)
    return parts[group] == 0
