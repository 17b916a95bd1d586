"""Atomic file writing, and progress bars."""

import contextlib
import os
import secrets
import time
from pathlib import Path

from tqdm.auto import tqdm

_HOUR = 3600  # seconds
_DAY = 24 * _HOUR
_swept = {}  # folders, and when


def _sweep(folder):
    """Remove the leftovers of killed processes from a folder, at most once an hour."""
    now = time.time()
    if now - _swept.get(folder, 0) < _HOUR:  # to list it for every file takes long
        return
    _swept[folder] = now
    for left in folder.glob(f".*.{'[0-9a-f]' * 8}.part"):
        with contextlib.suppress(OSError):  # another run may have removed it
            if now - left.stat().st_mtime > _DAY:
                left.unlink()


def _named(error, temporary, path):
    """Return an error about the temporary file as one about the target, on one line."""
    about = " ".join(str(part) for part in (*error.args, error.filename))
    if str(temporary) not in about:
        return error
    why = os.strerror(error.errno) if error.errno else str(error)
    why = why.replace(str(temporary), str(path))
    if not temporary.exists():
        why = f"its folder {path.parent.absolute()} takes no new files ({why})"
    named = type(error)(f"{path} cannot be written: {why}; name another place.")
    named.errno = error.errno
    return named


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
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: its folder does not exist; create it first."
        )
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
    return tqdm(
        iterable, desc=desc, total=total, unit=unit, disable=None, delay=1, leave=False
    )
