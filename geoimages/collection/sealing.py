"""Seals of whole files, and a process of its own that opens all others first.

HDF5 follows the addresses in a file: in a damaged or forged one they may lead in circles
or nowhere, and nothing in this process could end that. A file of ours ends with a seal,
the SHA-256 of all but its pictures, which have checksums of their own. HDF5 opens it only
if the seal fits. A file without one is first read by another process, which may take
5 seconds of the processor and 4 GiB.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys

import h5py

from . import checking

_MARK = b"geoiseal"
_TAIL = 8 + len(_MARK)  # the length of the seal in bytes, and the mark
_MOST_SEAL = 1 << 20
_BLOCK_BYTES = 1 << 24
_MOST_SECONDS = 60  # on a busy machine, or where nothing else ends the process


def _digest(file, stop, left_out):
    """SHA-256 of a file up to a byte, but for some ranges of it, ascending."""
    total, start = hashlib.sha256(), 0
    for begin, end in [*left_out, (stop, stop)]:
        if not start <= begin <= end <= stop:
            raise ValueError("its seal is damaged")
        file.seek(start)
        while start < begin:
            block = file.read(min(_BLOCK_BYTES, begin - start))
            if not block:
                raise ValueError("it is truncated")
            total.update(block)
            start += len(block)
        start = end
    total.update(json.dumps(left_out).encode())
    return total.hexdigest()


def seal(file, left_out):
    """Append a seal to a file that is whole.

    Parameters
    ----------
    file : binary file
        Open for reading and writing.
    left_out : list of [int, int]
        Ranges of bytes, ascending, that have checksums of their own.
    """
    stop = file.seek(0, os.SEEK_END)
    about = {"left_out": left_out, "sha256": _digest(file, stop, left_out)}
    text = json.dumps(about).encode()
    file.seek(stop)
    file.write(text + len(text).to_bytes(8, "little") + _MARK)


def seal_of(path):
    """Return the SHA-256 in the seal of a file, which fits; None without a seal.

    Raises
    ------
    ValueError
        If it has a seal, but of another content.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
        if len(tail) < _TAIL or tail[8:] != _MARK:
            return None
        length = int.from_bytes(tail[:8], "little")
        stop = size - _TAIL - length
        if length > _MOST_SEAL or stop < 0:
            raise ValueError("its seal is damaged")
        file.seek(stop)
        try:
            about = json.loads(file.read(length))
            left_out = [[int(a), int(b)] for a, b in about["left_out"]]
            sha256 = _digest(file, stop, left_out)
            fits = sha256 == about["sha256"]
        except (LookupError, TypeError, RecursionError, OverflowError, ValueError):
            raise ValueError("its seal is damaged") from None
    if not fits:
        raise ValueError("it is damaged: its content is not what was sealed")
    return sha256


def is_sealed(path):
    """Whether a file has a seal, which fits; a ValueError as of `seal_of`."""
    return seal_of(path) is not None


def check_apart(path):
    """Open a file in a process of its own, and read all but the pictures.

    Raises
    ------
    ValueError
        If it is no valid HDF5 file, takes too long or too much memory, or makes HDF5
        crash.
    """
    if not sys.executable:  # embedded in another program
        return
    command = [sys.executable, "-P", checking.__file__, os.fspath(path)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"it cannot be opened within {_MOST_SECONDS} s") from None
    if done.returncode == checking.REFUSED:
        raise ValueError(done.stdout.decode(errors="replace").strip())
    if done.returncode == -getattr(signal, "SIGPROF", 0):
        raise ValueError(f"it cannot be opened within {checking.SECONDS} s")
    if done.returncode < 0:
        raise ValueError("it makes the HDF5 library crash")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        why = next((line for line in reversed(lines) if line.strip()), "no message")
        raise ValueError(f"it could not be checked: {why.strip()}")


def check_file(path):
    """Make sure that HDF5 can open a file in this process, or raise a ValueError."""
    if not is_sealed(path) and h5py.is_hdf5(path):
        check_apart(path)
