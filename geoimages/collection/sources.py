"""Sources of pictures: folders and zips of class folders, and the keys of pictures."""

import contextlib
import functools
import gc
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from ..files import read_regular
from ..pictures.reading import PICTURE_SUFFIXES
from .lineage import ROTATIONS, split_rotation

_HEADER = struct.Struct("<4s2xH18x2H")  # of a member: mark, flags, two lengths
_ROTATED = tuple(f".{angle}" for angle in ROTATIONS)
# marble.MGN0Z.jpg, and its copies; BH12.5m.jpg begins with no class.
_FLAT = re.compile(r"[^\W\d_]+\.[a-zA-Z0-9]+(\.(90|180|270))?\.\w+")
_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")
# What zipfile raises for a damaged directory.
_BAD_ZIP = (
    *(zipfile.BadZipFile, ValueError, LookupError, struct.error),
    *(NotImplementedError, OverflowError, EOFError, MemoryError),
)
_MOST_BYTES = 1 << 30  # of a member, unpacked
_SAME_NAME = "duplicate-name", "a later member of the zip has the same name"
_ENCRYPTED = 0x1  # a flag
# What zipfile needs to read a member.
_PLACE = (
    *("orig_filename", "header_offset", "compress_size", "file_size", "CRC"),
    *("compress_type", "flag_bits"),
)
_EMPTY_ZIP = b"PK\5\6" + bytes(18)
_UTF8 = 0x800  # the flag of a name that is not in code page 437


_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst")


def is_archive_name(path):
    """Whether a file's name is that of an archive."""
    return path.lower().endswith(_ARCHIVES)


def _parts(path):
    """Split a path into folders and name; pathlib's parts, ten times as fast."""
    return [part for part in path.split("/") if part not in ("", ".")]


_folders = functools.lru_cache(1024)(_parts)  # shared by neighbors, not to be changed


def _split_suffix(name):
    """Split a file's name as pathlib does: a dot at either end begins no suffix."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and suffix else (name, "")


def is_picture_name(path):
    """Whether a file's name is that of a picture."""
    name = path.rpartition("/")[2]
    return not name.startswith(".") and (
        _split_suffix(name)[1].lower() in PICTURE_SUFFIXES
    )


class Entry(NamedTuple):
    """One file of a source: its path, its key and its folder."""

    path: str
    key: str
    label: str
    is_picture: bool  # by its name


def picture_key(path):
    """Return (key, label) of a picture: its folder's name prefixes its own.

    Examples
    --------
    >>> picture_key("rocks/marble/MGN0Z.jpg")
    ('marble.MGN0Z', 'marble')
    >>> picture_key("marble/marble.MGN0Z.90.jpg")
    ('marble.MGN0Z.90', 'marble')
    """
    folder, _, name = path.rpartition("/")
    folders = _folders(folder)
    if name in ("", "."):
        *folders, name = folders or [""]
    label = folders[-1] if folders else ""
    stem, _ = _split_suffix(name)
    named = not label or stem.startswith(f"{label}.")
    return stem if named else f"{label}.{stem}", label


def _picture_keys(keys):
    """Make keys unique: {path: key} -> {path: key}.

    Pictures that share a key are distinguished by their folders, then by their formats.
    A picture and its rotated copies get the same prefix, and the rotation stays at the
    end, so that `lineage_of` recognizes them.
    """
    names = {path: split_rotation(key) for path, key in keys.items()}
    folders = {}
    for path, (base, _) in names.items():
        folders.setdefault(base, set()).add(tuple(_parts(path)[:-1]))
    for path, (base, turn) in names.items():
        if len(folders[base]) > 1:
            above = _parts(path)[:-2]
            names[path] = ".".join([*above, base]), turn
    count = Counter(names.values())
    keys = {}
    for path, (base, turn) in names.items():
        same = count[base, turn] > 1 or count[base, ""] > 1
        keys[path] = base + (_split_suffix(path)[1] if same else "") + turn
    count = Counter(keys.values())
    return {path: key if count[key] == 1 else path for path, key in keys.items()}


def _name_flat(named):
    """Take the class of pictures without a folder from their names."""
    flat = [path for path, _, _, is_picture in named if is_picture and "/" not in path]
    if not flat or not all(map(_FLAT.fullmatch, flat)):
        return named
    classes = {path: path.partition(".")[0] for path in flat}
    return [
        (path, key, classes.get(path, label), is_picture)
        for path, key, label, is_picture in named
    ]


def _entries(paths):
    """Name every path."""
    named = [(path, *picture_key(path), is_picture_name(path)) for path in paths]
    named = _name_flat(named)
    keys = {path: key for path, key, _, is_picture in named if is_picture}
    unique = len(set(keys.values())) == len(keys)
    if not unique or any(key.endswith(_ROTATED) for key in keys.values()):
        keys = _picture_keys(keys)
    return [
        Entry(path, keys.get(path, key), label, is_picture)
        for path, key, label, is_picture in named
    ]


def labels_in_names(entries, pattern):
    """Take classes from file names.

    Parameters
    ----------
    entries : list of Entry
    pattern : str
        A template such as ``"{kind}_{number}"`` of names without their suffixes, whose
        field ``label``, ``class`` or ``kind`` is the class, or a regular expression whose
        first group is.

    Returns
    -------
    labels : list of str
        Empty where a name does not fit.

    Raises
    ------
    ValueError
        If the pattern is neither, names no class, or fits no picture.
    """
    fields, expression = _FIELD.findall(pattern), pattern
    named = [name for name in ("label", "class", "kind") if name in fields]
    if fields and not named:
        raise ValueError(
            f"label_from={pattern!r} does not say which part is the class; name that "
            "part {kind} (or {label} or {class}), as in '{kind}_{number}'."
        )
    if fields:
        texts = map(re.escape, _FIELD.sub("\0", pattern).split("\0"))
        groups = [*(f"(?P<{name}>.+?)" for name in fields), ""]
        expression = "".join(map(str.__add__, texts, groups)) + r"\Z"
    try:
        expression = re.compile(expression)
    except re.error as error:
        raise ValueError(
            f"label_from={pattern!r} is neither a template such as '{{kind}}_{{number}}' "
            f"nor a regular expression ({error})."
        ) from None
    if not expression.groups:
        raise ValueError(
            f"label_from={pattern!r} has no field such as {{kind}}, and no group."
        )
    find = expression.match if fields else expression.search
    labels, names = [], []
    for entry in entries:
        name = _split_suffix(entry.path.rpartition("/")[2])[0]
        match = find(name) or find(split_rotation(f"_.{name}")[0][2:])
        match = match if entry.is_picture else None
        labels.append((match[named[0] if named else 1] or "") if match else "")
        names += [name] * entry.is_picture
    if names and not any(labels):
        raise ValueError(f"label_from={pattern!r} fits no name, such as {names[0]!r}.")
    return labels


class UnreadableError(OSError):
    """A file of a source that cannot be had: a reason for the ledger, and details."""

    def __init__(self, reason, detail):
        super().__init__(detail)
        self.reason = reason


class Unlisted(NamedTuple):
    """What a source holds and does not list: its path, and why it is refused."""

    path: str
    reason: str
    detail: str


def _files_below(folder, unlisted, prefix=""):
    """Paths of the files below a folder; links to folders are not followed."""
    try:
        with os.scandir(folder) as found:
            items = list(found)
    except PermissionError as error:
        unlisted.append(Unlisted(prefix, "unreadable", os.strerror(error.errno)))
        return
    for item in items:
        path = prefix + item.name
        if item.is_dir(follow_symlinks=False):
            yield from _files_below(item.path, unlisted, f"{path}/")
        elif item.is_file(follow_symlinks=False) or os.path.isfile(item.path):
            yield path
        elif item.is_symlink():
            why = ("missing", "a link to nothing")
            if os.path.exists(item.path):
                why = ("not-a-picture", "a link to a device, a pipe or a socket")
            if os.path.isdir(item.path):
                why = ("linked-folder", "a link to a folder, which is not followed")
            unlisted.append(Unlisted(path, *why))
        else:
            why = ("not-a-picture", "a device, a pipe or a socket")
            unlisted.append(Unlisted(path, *why))


class Sources:
    """Several open sources, listed one after the other.

    Parameters
    ----------
    opened : list of object
        As `open_source` yields them.
    """

    def __init__(self, opened):
        self.opened = opened
        self.entries = [entry for source in opened for entry in source.entries]
        self.of = [i for i, source in enumerate(opened) for _ in source.entries]
        self.unlisted = [row for source in opened for row in source.unlisted]


class _Folder:
    """The files below a folder."""

    def __init__(self, root):
        self.root, self.unlisted = os.fspath(root), []
        self.entries = _entries(sorted(_files_below(root, self.unlisted)))

    def address(self):
        """What `reopen` needs to read from it again: values of JSON."""
        return {"kind": "folder", "path": os.path.abspath(self.root)}

    def places(self, entries):
        """Where files lie in it, for `reopen`; None where their paths say it."""
        return None

    def read(self, entry):
        return read_regular(os.path.join(self.root, entry.path), _MOST_BYTES)

    def stamp(self, entry):
        """Tell a file from an earlier one of that name, without reading it."""
        about = os.stat(os.path.join(self.root, entry.path))
        return [about.st_size, about.st_mtime_ns]

    def close(self):
        pass


class Files(_Folder):
    """Single files, named by their paths."""

    def __init__(self, paths):
        self.root, self.unlisted = "", []
        self.entries = _entries(sorted({Path(path).as_posix() for path in paths}))


class _List(_Folder):
    """The files that a text file lists, a line each, in that order."""

    def __init__(self, path):
        self.root, self.unlisted = os.path.dirname(os.path.abspath(path)), []
        text = read_regular(path, _MOST_BYTES).decode("utf-8-sig", "surrogateescape")
        lines = (line.strip() for line in text.splitlines())
        listed = [line for line in lines if line and not line.startswith("#")]
        if os.sep != "/":
            listed = [line.replace(os.sep, "/") for line in listed]
        self.entries = _entries(dict.fromkeys(listed))
        if not any(entry.is_picture for entry in self.entries):
            raise ValueError(
                f"{path} lists no picture; give a folder, a zip, or a text file with "
                "the path of a picture on each line."
            )

    def read(self, entry):
        if is_address(entry.path):
            return Remote.read_address(entry.path)
        return super().read(entry)

    def stamp(self, entry):
        return None if is_address(entry.path) else super().stamp(entry)


class _Zip:
    """The files inside a zip, read in place."""

    def __init__(self, path):
        self._path = path
        self._zip = open_zip(path)
        self._file = _open_binary(path)
        self._members, self.unlisted = {}, []
        for member in members_of(self._zip):
            if member.filename in self._members:
                self.unlisted.append(Unlisted(member.filename, *_SAME_NAME))
            self._members[member.filename] = member  # the last counts
        self.entries = _entries(sorted(self._members))

    @classmethod
    def at(cls, path, names, places):
        """Open some members by their places, without reading the directory."""
        zipped = cls.__new__(cls)
        zipped._path, zipped.unlisted, zipped._members = path, [], {}
        zipped._file = _open_binary(path)
        zipped._zip = zipfile.ZipFile(BytesIO(_EMPTY_ZIP))
        zipped._zip.fp = zipped._file
        for name, place in zip(names, places, strict=True):
            member = zipped._members[name] = zipfile.ZipInfo(name)
            for attribute, value in zip(_PLACE, place, strict=True):
                setattr(member, attribute, value)
        return zipped

    def address(self):
        """What `reopen` needs to read from it again: values of JSON."""
        path = self._path if is_address(self._path) else os.path.abspath(self._path)
        return {"kind": "zip", "path": path}

    def places(self, entries):
        """Where members lie in it, for `reopen`: list of (values of `_PLACE`)."""
        place = attrgetter(*_PLACE)
        return [place(self._members[entry.path]) for entry in entries]

    def read(self, entry):
        member = self._members[entry.path]
        if member.flag_bits & _ENCRYPTED:
            raise UnreadableError("encrypted", "the zip asks for a password")
        if member.file_size > _MOST_BYTES:
            raise UnreadableError(
                "too-large",
                f"{member.file_size:,} bytes are more than {_MOST_BYTES:,}",
            )
        data = self._read_stored(member)
        try:
            return self._zip.read(member) if data is None else data
        except Exception as error:  # zipfile raises nearly anything on damaged data
            why = f"{type(error).__name__}: {error}"
            raise UnreadableError("damaged", why) from error

    def stamp(self, entry):
        """Tell a member from an earlier one of that name, without reading it."""
        member = self._members[entry.path]
        return [member.file_size, member.CRC]

    def _read_stored(self, member):
        """Read a member that is neither compressed nor encrypted, or return None.

        What is unlike the directory of the zip is None, too: zipfile says what it is.
        """
        if (
            member.compress_type != zipfile.ZIP_STORED
            or member.compress_size != member.file_size
            or member.flag_bits & ~_UTF8
        ):
            return None
        name = member.orig_filename
        # As ASCII is the same in both and utf-8 is the faster, it is for ASCII, too.
        is_utf8 = member.flag_bits or name.isascii()
        name = name.encode("utf-8" if is_utf8 else "cp437")
        self._file.seek(member.header_offset)
        header = self._file.read(_HEADER.size + len(name))
        if header[_HEADER.size :] != name:
            return None
        mark, flags, name_length, extra_length = _HEADER.unpack_from(header)
        if (mark, flags, name_length) != (b"PK\3\4", member.flag_bits, len(name)):
            return None
        self._file.seek(extra_length, os.SEEK_CUR)
        data = self._file.read(member.file_size)
        return data if zlib.crc32(data) == member.CRC else None

    def close(self):
        self._file.close()
        self._zip.close()


def _climbs_out(name):
    """Whether a member's path is absolute, names a drive or goes up."""
    if name.startswith(("/", "\\")):
        return True
    if ".." not in name and ":" not in name:
        return False
    parts = _parts(name.replace("\\", "/"))
    return ".." in parts or (*parts, "")[0][1:2] == ":"


def members_of(archive):
    """List the files of a zip; those of Windows get slashes for their backslashes."""
    members = []
    for member in archive.infolist():
        member.filename = member.filename.replace("\\", "/")
        if not member.filename.endswith("/"):
            members.append(member)
    return members


def is_address(path):
    """Whether a path is an address for fsspec, such as ``s3://bucket/rocks``."""
    return isinstance(path, str) and re.match(r"[A-Za-z][\w+.-]+://", path) is not None


def _file_system(address):
    """The file system of an address and the path in it, or an error in one line."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        missing = error.name or str(error)
        raise ImportError(
            f"{address} needs fsspec and the backend of its kind ({missing} is missing); "
            "pip install 'geoimages[dask]', and s3fs, gcsfs or adlfs."
        ) from None
    except ValueError as error:
        raise ValueError(
            f"{address} is no address that fsspec knows: {error}"
        ) from None


def _open_binary(path):
    """Open a file for reading at any place, also one at an address."""
    if not is_address(path):
        return open(path, "rb")
    system, inside = _file_system(path)
    return system.open(inside, "rb")


class Remote:
    """The files below an address, by fsspec."""

    def __init__(self, address):
        self._address, self.unlisted = address.rstrip("/"), []
        self._system, root = _file_system(address)
        root = root.rstrip("/")
        found = self._system.find(root, detail=True)
        self._root = root
        self._about = {
            path.removeprefix(root).lstrip("/"): found[path] for path in found
        }
        self.entries = _entries(sorted(self._about))

    @classmethod
    def at(cls, address):
        """Open it again, without listing it."""
        remote = cls.__new__(cls)
        remote._address, remote.unlisted, remote._about = address, [], {}
        remote._system, root = _file_system(address)
        remote._root = root.rstrip("/")
        return remote

    @staticmethod
    def read_address(address):
        """Read one file; an OSError where that cannot be done."""
        system, path = _file_system(address)
        return system.cat_file(path)

    def address(self):
        """What `reopen` needs to read from it again: values of JSON."""
        return {"kind": "remote", "path": self._address}

    def places(self, entries):
        """Where files lie in it, for `reopen`; None where their paths say it."""
        return None

    def read(self, entry):
        return self._system.cat_file(f"{self._root}/{entry.path}")

    def stamp(self, entry):
        """Tell a file from an earlier one of that name, without reading it."""
        about = self._about.get(entry.path, {})
        known = [about.get(name) for name in ("size", "ETag", "etag", "mtime")]
        return [value if isinstance(value, int) else str(value) for value in known]

    def close(self):
        pass


def open_zip(path):
    """Open a zip and check that no member's path leaves it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a zip, or a member's path is absolute or contains ``..``.
    """
    if not is_address(path) and Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"{path} is no file; give a folder or a valid zip.")
    try:
        archive = zipfile.ZipFile(_open_binary(path) if is_address(path) else path)
    except FileNotFoundError:
        raise FileNotFoundError(f"No zip at {path}; give the path of one.") from None
    except _BAD_ZIP as error:
        raise ValueError(
            f"{path} is not a valid zip ({error}); give a folder or a valid zip."
        ) from None
    for name in archive.namelist():
        if _climbs_out(name):
            archive.close()
            raise ValueError(
                f"{path} holds {name!r}, which climbs out of the folder it is unpacked "
                "to; nothing was taken from it."
            )
    return archive


@contextlib.contextmanager
def listing():
    """Pause the garbage collector, which would look at all that is listed repeatedly.

    A list of 60,000 files takes half as long without it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def open_source(source):
    """List a folder or zip of pictures.

    Parameters
    ----------
    source : str or path-like
        A folder or zip; a text file (``.txt``) with the path of a picture on each line;
        or the address of a folder or zip, such as ``s3://bucket/rocks``, where fsspec
        and its backend are installed. A picture's folder is its class.

    Yields
    ------
    source : object
        With ``entries`` (list of `Entry`, sorted by path), ``read(entry)``, which
        returns bytes or raises an OSError, ``stamp(entry)``, which changes with the
        file, and ``unlisted``, what cannot be read for another reason: a list of
        `Unlisted`.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If the file is no zip.
    """
    with listing():
        opened = _open_source(source)
    try:
        yield opened
    finally:
        opened.close()


def _open_source(source):
    if is_address(source):
        if source.lower().endswith(".zip"):
            return _Zip(source)
        remote = Remote(source)
        if not remote.entries:
            raise FileNotFoundError(f"Nothing at {source}; give a folder or a zip.")
        return remote
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(
            f"No such folder or zip: {source}; give one that holds pictures."
        )
    if source.suffix.lower() == ".txt" and source.is_file():
        return _List(source)
    return _Folder(source) if source.is_dir() else _Zip(os.fspath(source))


def reopen(address, paths, places):
    """Open a source again on a worker, to read files that are known: as `open_source`.

    Parameters
    ----------
    address : dict
        Of the source.
    paths : list of str
        Of the files.
    places : list or None
        Where each of them lies, as ``source.places`` says.
    """
    kind, path = address["kind"], address["path"]
    if kind == "zip":
        return _Zip.at(path, paths, places)
    if kind == "remote":
        return Remote.at(path)
    opened = _List.__new__(_List)
    opened.root, opened.unlisted = path, []
    return opened
