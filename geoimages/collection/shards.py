"""The files of a collection: one .h5 file, or the shards of a folder, opened in turn."""

import os
import stat
from collections import OrderedDict
from pathlib import Path

import numpy as np

from .file import PictureFile
from .manifest import read_manifest, sha256_of
from .maps import map_shards
from .sealing import seal_of

_MOST_OPEN = 64  # files at a time


def check_is_file(path):
    """Raise a ValueError where one file is to be written, and a path names a folder."""
    if is_folder(path):
        folder = f"{path}".rstrip("/" + os.sep)
        raise ValueError(
            f"{path} is a folder, and this is written to one file; name {folder}.h5, and "
            f"divide it afterwards: geoimages shard {folder}.h5 -o {folder}/."
        )


def is_folder(path):
    """Whether a path names a folder of shards: it exists, or ends with a slash."""
    ends = str(path).endswith(("/", os.sep))
    return ends or Path(path).is_dir()


class SingleFile:
    """The files of a collection that is one file."""

    missing = ()

    def __init__(self, path):
        self._file = PictureFile(path)
        self.starts = np.array([0, len(self._file)])
        self.image_shape = self._file.image_shape
        self.attributes = dict(self._file.attributes)
        if not len(self._file):
            raise self._file.invalid(ValueError("it holds no pictures"))

    def __len__(self):
        return 1

    def __getitem__(self, i):
        return self._file

    def n_repeated(self, i):
        """Rows of the ledger that a file has in common with the one before it."""
        return 0

    @property
    def paths(self):
        """The files, in order."""
        return [self._file.path]

    @property
    def n_bytes(self):
        """Size of all files together."""
        return self._file.n_bytes

    @property
    def is_open(self):
        """Whether there is something to read from."""
        return self._file.is_open

    def verify(self):
        """Read everything and verify the checksums: list of str."""
        return self._file.verify()

    def close(self):
        """Close what is open."""
        self._file.close()


class ShardFiles:
    """The shards of a folder: each is checked and opened when it is first read.

    Their sizes are compared with the manifest at once; the seal, a SHA-256 of all but
    the pixels, when a shard is opened; the checksum of each picture when it is read.

    Parameters
    ----------
    folder : path-like

    Raises
    ------
    FileNotFoundError
        If the folder has no manifest.
    ValueError
        If the manifest is damaged, or a shard is not what it says.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.shards = self.manifest.present
        self.missing = [shard for shard in self.manifest.shards if shard.missing]
        self.starts = np.cumsum([0, *(shard.count for shard in self.shards)])
        self.image_shape = self.manifest.image_shape
        self._open, self._stamps, self.is_open = OrderedDict(), {}, True
        if not self.starts[-1]:
            why = f" ({self.missing[0].missing})" if self.missing else ""
            raise ValueError(
                f"{self.folder} holds no pictures{why}; run the command that made it "
                "again."
            )
        for shard in self.shards:
            _stamp_of(self.folder / shard.name, shard.n_bytes)
        first = self[int(np.flatnonzero(np.diff(self.starts))[0])]
        self.attributes = {
            name: value
            for name, value in first.attributes.items()
            if name not in OF_SHARDS
        }

    def __len__(self):
        return len(self.shards)

    def n_repeated(self, i):
        """Rows of the ledger that a shard has in common with the one before it."""
        place = self.manifest.shards.index(self.shards[i])
        if not place or self.manifest.shards[place - 1].missing:
            return 0
        return self[i].attributes.get("continued", 0)

    @property
    def paths(self):
        """The files, in order."""
        return [self.folder / shard.name for shard in self.shards]

    @property
    def n_bytes(self):
        """Size of all files together."""
        return sum(shard.n_bytes for shard in self.shards)

    def named(self, i):
        """What `check_shard` takes, on a worker: path, size and seal of a shard."""
        shard = self.shards[i]
        return os.path.abspath(self.folder / shard.name), shard.n_bytes, shard.seal

    def __getitem__(self, i):
        """Open a shard, which is closed when many others have been opened since."""
        if not self.is_open:
            raise ValueError(f"{self.folder} is closed.")
        file = self._open.pop(i, None)
        if file is None:
            file = self._checked(i)
        self._open[i] = file
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)  # closed once no other thread reads from it
        return file

    def _checked(self, i):
        """Open a shard if it is what the manifest names."""
        shard = self.shards[i]
        path = self.folder / shard.name
        stamp = _stamp_of(path, shard.n_bytes)
        if self._stamps.get(i) != stamp:
            check_shard(path, shard.n_bytes, shard.seal)
        file = _opened(path, shard, self.image_shape)
        self._stamps[i] = stamp
        return file

    def verify(self):
        """Read everything and verify hashes and checksums: list of str.

        Each shard on a worker.
        """
        tasks = [
            (Path(os.path.abspath(self.folder / shard.name)), shard, self.image_shape)
            for shard in self.shards
        ]
        names = [shard.name for shard in self.shards]
        found, failed = map_shards(
            _problems_of, tasks, desc="reading shards", names=names
        )
        problems = [line for lines in found for line in lines or ()]
        problems += [
            f"{names[i]} could not be read: {why}" for i, why in failed.items()
        ]
        problems += [
            f"{shard.name} is missing: {shard.missing}" for shard in self.missing
        ]
        return problems

    def close(self):
        """Close what is open."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        self.is_open = False


OF_SHARDS = ("plan", "continued")
"""Attributes of a shard that are not of the collection."""


def _differs(path, why):
    return (
        f"{path} is not the shard that {path.parent.name}/manifest.json names ({why}); "
        "run the command that made it again."
    )


def _stamp_of(path, n_bytes):
    """What tells a file from a later one of that name, of the right size."""
    try:
        about = path.stat()
    except OSError as error:
        raise ValueError(_differs(path, os.strerror(error.errno))) from None
    if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
        raise ValueError(_differs(path, "it is no file"))
    if about.st_size != n_bytes:
        why = f"it has {about.st_size:,} bytes instead of {n_bytes:,}"
        raise ValueError(_differs(path, why))
    return about.st_size, about.st_mtime_ns, about.st_ino


def _opened(path, shard, image_shape):
    """Open a shard that was checked, and compare its pictures with the manifest."""
    file = PictureFile(path, checked=True)
    n, shape = len(file), file.image_shape
    if shape != tuple(image_shape) or n != shard.count:
        file.close()
        raise ValueError(_differs(path, f"{n} pictures of {shape}"))
    return file


def _problems_of(path, shard, image_shape):
    """What is wrong with a shard: list of str."""
    problems, path = [], Path(path)
    try:
        _stamp_of(path, shard.n_bytes)
        if sha256_of(path) != shard.sha256:
            problems.append(_differs(path, "it has another SHA-256"))
        check_shard(path, shard.n_bytes, shard.seal)
        file = _opened(path, shard, image_shape)
        try:
            problems += file.verify()
        finally:
            file.close()
    except (OSError, ValueError) as error:
        problems.append(str(error))
    return problems


def check_shard(path, n_bytes, seal):
    """Raise a ValueError unless a file is the shard that a manifest names.

    Its seal is the SHA-256 of all but the pixels, the checksums of which are among what
    is sealed, and are compared as pictures are read.
    """
    path = Path(path)
    _stamp_of(path, n_bytes)
    try:
        found = seal_of(path)
    except (OSError, ValueError) as error:
        raise ValueError(_differs(path, str(error))) from None
    if found != seal:
        raise ValueError(_differs(path, "its content has another hash"))


def open_files(path):
    """Open the files of a collection: one file, or a folder of shards."""
    return ShardFiles(path) if Path(path).is_dir() else SingleFile(path)
