"""Journal of a run of `geoimages etl`, by which a killed one is continued."""

import contextlib
import glob
import json
import os
import secrets
import zlib
from datetime import datetime
from pathlib import Path

import numpy as np

_FORMAT, _VERSION = "geoimages.journal", 1
_MOST_WAITING = 4096  # files without a picture, say


def _pack(about):
    """A line of JSON with its checksum."""
    text = json.dumps(about, default=lambda number: number.item()).encode()
    return b"%s %08x\n" % (text, zlib.crc32(text))


def _unpack(line):
    """What a line holds, or None if it is not whole."""
    text, mark = line[:-10], line[-10:]
    return json.loads(text) if mark == b" %08x\n" % zlib.crc32(text) else None


class Journal:
    """What a run has read, beside the unfinished file that its pictures are in.

    A line is written after the picture it is about, and both are held against their
    checksums, so that whatever a killed run leaves is taken whole or not at all.

    Parameters
    ----------
    temporary : Path
        The unfinished file, ``.<name>.<hex>.part``.
    request : dict
        What was asked for, in values of JSON.
    writer : Writer
        Writes the pictures.
    """

    def __init__(self, temporary, request, writer):
        self.temporary, self.writer = temporary, writer
        self.path = temporary.with_suffix(".journal")
        self._waiting = []
        header = {"format": _FORMAT, "version": _VERSION, "request": request}
        with open(self.path, "wb") as file:
            file.write(_pack(header))

    def note(self, row, stamp, image=None, number=None):
        """Note a file that was read, and the number of its picture in the file."""
        line = {"row": row, "stamp": stamp}
        if image is not None:
            line["at"] = self.writer.start + number * self.writer.n_bytes
            line["crc32"] = zlib.crc32(np.ascontiguousarray(image))
        self._waiting.append(_pack(line))
        if len(self._waiting) >= _MOST_WAITING:
            self.writer.flush()
        if not self.writer.filled:
            self._write()

    def _write(self):
        """Write the lines of pictures that are in the file."""
        with open(self.path, "ab") as file:
            file.write(b"".join(self._waiting))
        self._waiting = []

    def keep(self):
        """Keep both files when the run is interrupted, under another name."""
        self.writer.flush()
        self._write()
        name = self.temporary.name.removesuffix(".part")[:-8] + secrets.token_hex(4)
        for path in (self.temporary, self.path):
            path.rename(path.with_name(name + path.suffix))


def journals_of(path):
    """The journals of unfinished runs for a file, those of dead processes, too."""
    path = Path(path)
    pattern = f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}.journal"
    return sorted(
        left for left in path.parent.glob(pattern) if left.with_suffix(".part").exists()
    )


def remove_journals(journals):
    """Delete journals and the unfinished files they are about."""
    for journal in journals:
        for left in (journal.with_suffix(".part"), journal):
            left.unlink(missing_ok=True)


def unfinished(path):
    """Say what unfinished runs have left of a file.

    Parameters
    ----------
    path : str or path-like
        The file that they were to write.

    Returns
    -------
    text : str
        How many files they had read and when they stopped, or nothing.
    """
    counts, times = [0], []
    for journal in journals_of(path):
        with contextlib.suppress(OSError):
            counts.append(journal.read_bytes().count(b"\n") - 1)
            times.append(journal.stat().st_mtime)
    if not times:
        return ""
    when = datetime.fromtimestamp(max(times)).isoformat(" ", "minutes")
    return f"{max(counts):,} files were read by a run that stopped at {when}"


class Recovered:
    """Pictures of unfinished runs, to be taken instead of being read again.

    Parameters
    ----------
    path : path-like
        The file that they were to write.
    request : dict
        What is asked for now.
    image_shape : tuple of int
        (height, width, channels).

    Raises
    ------
    ValueError
        If an unfinished run was asked for something else.
    """

    def __init__(self, path, request, image_shape):
        self.image_shape, self._places = tuple(image_shape), {}
        self.journals, self._files = [], contextlib.ExitStack()
        with contextlib.ExitStack() as files:
            for journal in journals_of(path):
                lines = files.enter_context(open(journal, "rb"))
                header = _unpack(lines.readline())
                if header is None or header["format"] != _FORMAT:
                    continue  # killed at once
                _check_request(path, header, request)
                self.journals.append(journal)
                part = journal.with_suffix(".part")
                pictures = files.enter_context(open(part, "rb", buffering=0))
                self._index(lines, pictures)
            self._files = files.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._files.close()

    def _index(self, lines, pictures):
        """Find the line of each file; what follows a damaged one is left."""
        while True:
            at = lines.tell()
            line = lines.readline()
            found = _unpack(line) if line.endswith(b"\n") else None
            if found is None:
                return
            self._places[found["row"]["path"]] = lines, at, pictures

    def find(self, path, stamp):
        """What was read of a file: (picture or None, its row), or None if not whole."""
        if path not in self._places:
            return None
        lines, at, pictures = self._places[path]
        lines.seek(at)
        line = _unpack(lines.readline())
        if line["stamp"] != stamp:
            return None
        if "at" not in line:
            return None, line["row"]
        image = np.empty(self.image_shape, np.uint8)
        pictures.seek(line["at"])
        n_read = pictures.readinto(image)
        whole = n_read == image.nbytes and zlib.crc32(image) == line["crc32"]
        return (image, line["row"]) if whole else None


def _check_request(path, header, request):
    """Raise a ValueError where an unfinished run was asked for something else."""
    if header["version"] > _VERSION:
        raise ValueError(
            f"{path} was begun by a newer geoimages; continue it with that, or start "
            "again without resume."
        )
    before = header["request"]
    for name, now in json.loads(json.dumps(request)).items():
        if before.get(name) != now:
            raise ValueError(
                f"{path} was begun with {name}={before.get(name)}, not {now}; repeat "
                "what that run was given, or start again without resume."
            )


def stamp_of(source, entry):
    """What tells a file from an earlier one of that name, or None."""
    try:
        return source.stamp(entry)
    except OSError:
        return None


def is_repeatable(sample, random_state):
    """Whether a run with these takes the same files again."""
    return sample == 1 or isinstance(random_state, int | np.integer)


def absolute(path):
    """A path, wherever it is named from."""
    return os.path.realpath(path)
