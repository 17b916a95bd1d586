"""Atomic file writing, locks between processes, and progress bars."""

import contextlib
import errno
import json
import mmap
import os
import secrets
import socket
import stat
import time
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path

from tqdm.auto import tqdm

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

_HOUR = 3600  # seconds
_DAY = 24 * _HOUR
_MONTH = 30 * _DAY
_LOCK_BYTE = 1 << 30  # Windows keeps others from reading the byte that is locked
_swept = {}  # folders, and when
# What writing alone raises, and reading hardly ever without naming the file.
OF_WRITING = {errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS} | (
    {errno.EDQUOT} if hasattr(errno, "EDQUOT") else set()
)


class NewerVersionError(ValueError):
    """A file of a later version of this package."""


def check_version(path, version, newest):
    """Raise a NewerVersionError where a file is of a later layout than is known."""
    if version > newest:
        raise NewerVersionError(
            f"{path} was written by a newer geoimages (its layout is {version}, this one "
            f"reads up to {newest}); update geoimages."
        )


def _sweep(folder):
    """Remove the leftovers of killed processes from a folder, at most once an hour.

    What `geoimages etl --resume` continues stays for a month.
    """
    now = time.time()
    if now - _swept.get(folder, 0) < _HOUR:  # to list it for every file takes long
        return
    _swept[folder] = now
    any_hex = "[0-9a-f]" * 8
    parts = [*folder.glob(f".*.{any_hex}.part"), *folder.glob(f".*.{any_hex}.journal")]
    for left in parts:
        journaled = left.with_suffix(".journal").exists()
        with contextlib.suppress(OSError):  # another run may have removed it
            if now - left.stat().st_mtime > (_MONTH if journaled else _DAY):
                left.unlink()


def _named(error, temporary, path):
    """Return an error about the temporary file as one about the target, on one line."""
    about = " ".join(str(part) for part in (*error.args, error.filename))
    unnamed = error.filename is None and error.errno in OF_WRITING
    if str(temporary.with_suffix("")) not in about and not unnamed:
        return error
    why = os.strerror(error.errno) if error.errno else str(error)
    why = why.replace(str(temporary), str(path))
    if not unnamed and not temporary.exists():
        why = f"its folder {path.parent.absolute()} takes no new files ({why})"
    kept = "; the old file is unchanged" if path.exists() else ""
    named = type(error)(f"{path} cannot be written: {why}; name another place{kept}.")
    named.errno = error.errno
    return named


def _check_folder(path):
    """Raise a FileNotFoundError unless the folder of a path exists."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: its folder does not exist; create it first."
        )


def _sync_folder(folder):
    """Bring the new name of a file to disk, where a folder can be opened."""
    with contextlib.suppress(OSError):  # Windows, and some network shares
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _open_at_once(path, flags):
    """Open a file; opening a pipe would wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_regular(path, most_bytes=1 << 30):
    """Read a file that someone named: whole, and without waiting for what never comes.

    Parameters
    ----------
    path : str or path-like
        The file.
    most_bytes : int, default=2**30
        The largest that is read.

    Returns
    -------
    data : bytes

    Raises
    ------
    OSError
        If it cannot be read, is larger, or is a device, a pipe or a socket, which may
        block or have no end.
    """
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(f"{path} is a device or a pipe, not a file")
        if about.st_size > most_bytes:
            error = OSError(
                f"{path} has {about.st_size:,} bytes, at most {most_bytes:,} are read"
            )
            error.errno = errno.EFBIG
            raise error
        data = bytearray()
        while len(data) < about.st_size:  # one call reads 2 GB at most
            more = file.read(about.st_size - len(data))
            if not more:
                break
            data += more
    return bytes(data)


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path that replaces `path` when the block succeeds.

    Parameters
    ----------
    path : str or path-like
        The file to write; its folder must exist.

    Yields
    ------
    temporary : Path
        A path in the same folder that does not exist yet. It is renamed to `path` at
        the end, or removed if the block raises; a killed process leaves `path`
        unchanged. Leftovers of killed processes are removed after a day.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    OSError
        If it cannot be written: a full disk, a read-only folder, a limit. The message
        is one line that names `path`.
    """
    path = Path(path)
    _check_folder(path)
    _sweep(path.parent.resolve())
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        named = _named(error, temporary, path)
        if named is error:
            raise
        raise named from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def let_go(array):
    """Give the pages of a memory-mapped array back to the system.

    It keeps them in its cache for as long as it has room, and whoever looks at the array
    again maps them again; but they no longer count as memory of this process.
    """
    # NumPy calls a copy of a mapped array a memmap, too, but one that maps nothing.
    while array is not None and getattr(array, "_mmap", None) is None:
        array = getattr(array, "base", None)
    if array is None or array.mode == "c" or not hasattr(mmap, "MADV_DONTNEED"):
        return
    array._mmap.madvise(mmap.MADV_DONTNEED)


class QuietFile:
    """A new file for a library that cannot bear errors of writing.

    HDF5 tries again on closing, and then complains on its own. Here the first error is
    kept; what follows is taken and thrown away, and `check` and the end of the block
    raise it.

    Parameters
    ----------
    path : path-like
        The file.
    """

    def __init__(self, path):
        self._file, self.error = open(path, "w+b", buffering=0), None  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            self._file.close()  # where a network share may first say that it is full
        except OSError as failed:
            self.error = self.error or failed
        if self.error is not None and error is not self.error:
            raise self.error from None

    def _try(self, call, *args):
        """Call unless there was an error, and keep the first one."""
        if self.error is None:
            try:
                return call(*args)
            except OSError as error:
                self.error = error
        return None

    def _write_all(self, data):
        data = memoryview(data)
        while len(data):  # a disk that is nearly full takes a part
            data = data[self._file.write(data) :]

    def check(self):
        """Raise the first error, if there was one."""
        if self.error is not None:
            raise self.error

    def write(self, data):
        self._try(self._write_all, data)
        return len(data)

    def readinto(self, data):
        return self._try(self._file.readinto, data) or 0

    def read(self, size=-1):
        return self._try(self._file.read, size) or b""

    def seek(self, offset, whence=os.SEEK_SET):
        return self._file.seek(offset, whence)

    def tell(self):
        return self._file.tell()

    def truncate(self, size=None):
        return self._try(self._file.truncate, size)

    def flush(self):
        pass  # nothing is held back


def _try_lock(file):
    """Lock an open file without waiting; BlockingIOError where another has."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    file.seek(_LOCK_BYTE)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        raise BlockingIOError(*error.args) from None


def _holder(file):
    """Say who holds a lock, as its file does."""
    try:
        file.seek(0)
        about = json.loads(file.read(1000))
        who = f"process {int(about['pid'])} on {str(about['host'])[:100]}"
        return f"{who} since {str(about['since'])[:40]}"
    except (OSError, ValueError, LookupError, TypeError):  # it was just taken
        return "another process"


def _is_at(file, path):
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def locked(path):
    """Hold a file for writing, so that no second process writes it meanwhile.

    The operating system drops the lock when a process ends, however it ends: nothing
    that a killed process leaves is ever in the way. Readers are not affected.

    Parameters
    ----------
    path : path-like
        The file to write, which need not exist. ``.<name>.lock`` lies beside it while
        it is held.

    Yields
    ------
    held : bool
        False on a file system without locks, where nothing is held.

    Raises
    ------
    BlockingIOError
        If another process holds it; the message says which one, where and since when.
    """
    path = Path(path)
    _check_folder(path)
    lock = path.with_name(f".{path.name}.lock")
    while True:
        try:
            file = open(lock, "a+b", buffering=0)  # noqa: SIM115 (closed below)
        except OSError as error:
            raise _named(error, lock, path) from error
        try:
            _try_lock(file)
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            raise BlockingIOError(
                f"{path} is being written by {holder}; wait until that ends."
            ) from None
        except OSError:  # a file system without locks
            file.close()
            lock.unlink(missing_ok=True)
            yield False
            return
        if _is_at(file, lock):  # and was not removed by the one who held it before
            break
        file.close()
    try:
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with contextlib.suppress(OSError):  # a full disk; the lock holds without
            file.truncate(0)
            file.write(json.dumps(about).encode())
        yield True
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file
            lock.unlink()
        file.close()


def held_by(path):
    """What the lock of a file says of its holder: bytes, empty where nobody holds it.

    A process of another machine, or one that outlived who started it, compares it.
    """
    path = Path(path)
    try:
        return path.with_name(f".{path.name}.lock").read_bytes()
    except OSError:
        return b""


_LISTENER = ContextVar("listener", default=None)


class _Told:
    """A progress bar that calls a function instead of drawing."""

    def __init__(self, iterable, desc, total, tell):
        self.iterable, self.desc, self.tell, self.n = iterable, desc, tell, 0
        self.total = total
        if total is None and hasattr(iterable, "__len__"):
            self.total = len(iterable)

    def __iter__(self):
        for item in self.iterable:
            yield item
            self.update()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def update(self, n=1):
        self.n += n
        self.tell(self.desc, self.n, self.total)


@contextlib.contextmanager
def listening(tell):
    """Have a function told of all progress in this thread, instead of drawing bars.

    Parameters
    ----------
    tell : callable
        Called with the description of a task, the steps done and their number, or None
        where that is not known.
    """
    token = _LISTENER.set(tell)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def progress(iterable=None, *, desc, total=None, unit="it"):
    """Wrap an iterable in a progress bar.

    The bar is shown only on a terminal or in a notebook, and only after a second.

    Parameters
    ----------
    iterable : iterable, optional
        The iterable; without one, call ``update`` on the bar returned.
    desc : str
        Description of the task.
    total : int, optional
        Number of steps, if `iterable` has no length.
    unit : str, default="it"
        Name of a step.

    Returns
    -------
    bar : tqdm.tqdm
        The iterable, also a context manager.
    """
    tell = _LISTENER.get()
    if tell is not None:
        return _Told(iterable, desc, total, tell)
    return tqdm(
        iterable, desc=desc, total=total, unit=unit, disable=None, delay=1, leave=False
    )
