"""Faults of one process: writes below a folder that fail, fall short or kill it."""

import builtins
import io
import os
import signal


class Fault:
    """Counts what changes the files of a folder, and fails at one of them.

    Parameters
    ----------
    folder : path-like
        Where writes count: write(2) and truncate(2) of each file that is opened there,
        fsync, rename and link.
    at : int
        The first that fails; 0 counts only.
    error : int or None
        An errno, after half of the data is written; None kills the process there.
    stays : bool
        Whether everything after it fails, too, as on a full disk.
    """

    def __init__(self, folder, at=0, error=None, stays=False):
        self.folder, self.at = os.fspath(folder), at
        self.error, self.stays, self.n = error, stays, 0

    def install(self):
        """Take the place of `open` and of the calls of `os`; only in a child process."""
        real_open, self.real = io.open, os.replace

        def faulty_open(file, mode="r", buffering=-1, *args, **options):
            inside = isinstance(file, str | os.PathLike) and self.holds(file)
            if not inside or not set(mode) & set("wax+"):
                return real_open(file, mode, buffering, *args, **options)
            raw = FaultyFile(file, "".join(set(mode) - set("bt")), self)
            if buffering == 0:
                return raw
            kind = io.BufferedRandom if "+" in mode else io.BufferedWriter
            buffered = kind(raw)
            return (
                buffered
                if "b" in mode
                else io.TextIOWrapper(buffered, *args, **options)
            )

        builtins.open = io.open = faulty_open
        for name in ("replace", "rename", "link", "fsync"):
            setattr(os, name, self.counted(getattr(os, name)))
        return self

    def holds(self, path):
        return os.path.realpath(path).startswith(self.folder + os.sep)

    def counted(self, call):
        def counting(*args, **options):
            self.count()
            return call(*args, **options)

        return counting

    def count(self, first=lambda: None):
        """Count one more, and fail if it is the one."""
        self.n += 1
        if not self.at or self.n < self.at or (self.n > self.at and not self.stays):
            return
        first()
        if self.error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.error, os.strerror(self.error))


class FaultyFile(io.FileIO):
    """A file whose writes count."""

    def __init__(self, path, mode, fault):
        super().__init__(path, mode)
        self.fault = fault

    def write(self, data):
        data = memoryview(data).cast("B")
        half = data[: len(data) // 2]
        self.fault.count(lambda: super(FaultyFile, self).write(half))
        return super().write(data)

    def truncate(self, size=None):
        self.fault.count()
        return super().truncate(size)
