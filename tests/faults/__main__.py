"""Kill, starve and forbid whatever writes: the old file or the new one, whole.

``python tests/faults`` (``make faults``) kills each job at random moments and at every
write, lets every write fail with ENOSPC, EIO or EFBIG, fills a small disk where root may
mount one, and takes the right to write. After each, the file must answer as the old one
or as the new one; after an error there must be one line that names it, and nothing else
in the folder. Printed are the points tried and what was lost.
"""

import argparse
import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # forks carry no threads
    os.environ[name] = "1"
os.environ["MPLBACKEND"] = "agg"
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402
import tqdm  # noqa: E402
from injection import Fault  # noqa: E402
from jobs import JOBS, Inputs, told_in  # noqa: E402

from geoimages import files  # noqa: E402

LEFT_BY_KILLS = (".part", ".journal", ".lock", "-journal")
NOBODY = 65534
_MOST_SECONDS = 300


class Lost(Exception):
    """A file that is neither the old one nor the new one, or a failure told badly."""


def run(job, folder, before=lambda: None, after=None):
    """Act in a child process: (exit code or -signal, what it printed, seconds)."""
    reading, writing = os.pipe()  # a file would be subject to the limits
    start = time.monotonic()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        code = 1
        signal.alarm(_MOST_SECONDS)
        try:
            before()
            told = job.act(folder)
            code = told if isinstance(told, int) else 0
            for note in told if isinstance(told, list) else []:
                print(note)
        except OSError as error:
            print(error)
            code = 2
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    os.close(writing)
    with open(reading, encoding="utf-8", errors="replace") as file:
        printed = file.read().splitlines()
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status), printed, time.monotonic() - start


class Trial:
    """A job, what its old and new file answer, and how it is tried."""

    def __init__(self, name, inputs, root):
        self.name, self.job, self.root = name, JOBS[name](inputs), root
        self.points, self.losses = Counter(), []
        with self.folder() as folder:
            self.old = self.job.answer(folder)
        with self.folder() as folder:
            code, printed, self.seconds = run(self.job, folder)
            if code:
                raise SystemExit(f"{name} fails without a fault: {printed}")
            self.new = self.job.answer(folder)
            self.files = sorted(os.listdir(folder))
            self.size = max(os.path.getsize(folder / f) for f in self.files)
            self.beside = [f for f in self.files if f != self.job.name]
        with self.folder() as folder:
            fault = Fault(folder)
            count = Path(f"{folder}.count")

            def before():
                fault.install()
                self.job_act = self.job.act
                self.job.act = lambda folder: (
                    self.job_act(folder),
                    count.write_text(str(fault.n)),
                )[0]

            run(self.job, folder, before)
            self.n_writes = int(count.read_text())

    @contextlib.contextmanager
    def folder(self, where=None):
        """A folder with the old file."""
        folder = Path(tempfile.mkdtemp(dir=self.root)) if where is None else where
        folder = folder.resolve()
        told_in(folder).unlink(missing_ok=True)
        try:
            self.job.prepare(folder)
            yield folder
        finally:
            if where is None:
                shutil.rmtree(folder)
            for left in self.root.glob(f"{folder.name}.*"):
                left.unlink()

    def attempt(self, kind, check, before=lambda folder: None, after=None, where=None):
        """Try one point, and note what was lost."""
        self.points[kind] += 1
        with self.folder(where) as folder:
            try:
                outcome = run(self.job, folder, lambda: before(folder), after)
                check(folder, *outcome[:2])
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
                self.losses.append(f"{self.name}, {kind}: {told}")

    def check_whole(self, folder):
        """Raise Lost unless the file is the old or the new one."""
        answer = self.job.answer(folder)
        if getattr(self.job, "counts", False):
            return
        if answer not in (self.old, self.new):
            raise Lost("it is neither the old file nor the new one")

    def after_kill(self, folder, code, printed):
        self.check_whole(folder)
        for name in set(os.listdir(folder)) - {*self.files, self.job.name}:
            if not name.endswith((*LEFT_BY_KILLS, *self.job.may_stay)):
                raise Lost(f"it leaves {name}")
        again, printed, _ = run(self.job, folder)  # nothing left is in the way
        if again and not (again == 1 and "new picture" in " ".join(printed)):
            raise Lost(f"and then it fails: {printed}")
        if self.job.answer(folder) != self.new:
            raise Lost("what is written afterwards is not the new file")

    def after_error(self, folder, code, printed):
        self.check_whole(folder)
        allowed = {self.job.name, *self.beside}
        left = set(os.listdir(folder)) - allowed
        if left:
            raise Lost(f"it leaves {sorted(left)}")
        notes = getattr(self.job, "notes", False)
        if code == 0 and self.job.answer(folder) == self.new and not notes:
            return  # the fault came too late to matter
        if code not in ((0,) if notes else (0, 2)):
            raise Lost(f"exit code {code}, {printed[-3:]}")
        if len(printed) != 1:
            raise Lost(f"{len(printed)} lines instead of one: {printed[:3]}")
        named = "features" if notes else self.job.name
        if named not in printed[0]:
            raise Lost(f"the line does not name the file: {printed[0]}")

    def kill_at_moments(self, n, rng):
        for moment in rng.uniform(0, 1.05 * self.seconds, n):
            self.attempt("kill -9 at a random moment", self.after_kill, after=moment)

    def fail_at_writes(self, most, **errors):
        """Let every write fail in each way, or as many as are asked for, spread."""
        n = min(most, self.n_writes)
        points = np.unique(np.linspace(1, self.n_writes, n).astype(int)) if n else []
        for at in points:
            self.attempt(
                "kill -9 at a write",
                self.after_kill,
                lambda folder, at=at: Fault(folder, at).install(),
            )
            for kind, (code, stays) in errors.items():
                self.attempt(
                    f"{kind} at a write",
                    self.after_error,
                    lambda folder, at=at, code=code, stays=stays: Fault(
                        folder, at, code, stays
                    ).install(),
                )

    def limit_size(self, n):
        for size in np.unique(np.linspace(0, self.size - 1, n).astype(int)):
            self.attempt(
                "EFBIG by a limit of size",
                self.after_error,
                lambda folder, size=int(size): resource.setrlimit(
                    resource.RLIMIT_FSIZE, (size, -1)
                ),
            )

    def fill_disk(self, n):
        """Leave less and less room on a disk of its own; False where none is mounted."""
        size = 4 * self.size + (1 << 20)
        disk = Path(tempfile.mkdtemp(dir=self.root, prefix="disk"))
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if subprocess.run(command, capture_output=True).returncode:
            disk.rmdir()
            return False
        try:
            for share in np.linspace(0, 1, n, endpoint=False):
                for left in disk.iterdir():
                    left.unlink()
                self.job.prepare(disk)
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                room = int(share * self.size) // 4096 * 4096
                with open(disk / "filler", "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, max(4096, free - room))
                self.beside.append("filler")
                self.attempt("a full disk", self.after_error, where=disk)
                self.beside.remove("filler")
        finally:
            subprocess.run(["umount", str(disk)], check=True)
            disk.rmdir()
        return True

    def forbid(self):
        """Take the right to write to the folder."""

        def before(folder):
            os.chmod(folder / self.job.name, 0o444)
            os.chmod(folder, 0o555)
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)

        self.attempt("a read-only folder", self.after_error, before)


def say(text):
    """Print at once: what waits in a buffer, a fork would print again."""
    print(text, flush=True)


def _try_all(names, kills, most):
    """Try all faults on each job: (points by kind, losses)."""
    points, losses, rng = Counter(), [], np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        root = Path(root).resolve()
        os.chmod(root, 0o755)
        (root / "inputs").mkdir()
        inputs = Inputs(root / "inputs")
        for name in names:
            trial = Trial(name, inputs, root)
            trial.kill_at_moments(kills, rng)
            trial.fail_at_writes(
                most, ENOSPC=(errno.ENOSPC, True), EIO=(errno.EIO, False)
            )
            trial.limit_size(min(most, 40))
            mounted = trial.fill_disk(min(most, 40))
            trial.forbid()
            points += trial.points
            losses += trial.losses
            say(
                f"{name}: {trial.points.total()} points ({trial.n_writes} writes), "
                f"{len(trial.losses)} losses"
                + ("" if mounted else "; a full disk needs root to mount one")
            )
            for loss in trial.losses:
                say(f"  {loss}")
    return points, losses


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=", ".join(JOBS))
    parser.add_argument("--kills", type=int, default=40, help="random moments per job")
    parser.add_argument(
        "--writes", type=int, default=1000, help="writes per job, at most"
    )
    options = parser.parse_args(argv)
    points, losses = _try_all(options.jobs or JOBS, options.kills, options.writes)
    for kind, n in points.items():
        say(f"{n:6,} {kind}")
    say(f"{points.total():6,} points tried, {len(losses)} losses")
    return bool(losses)


if __name__ == "__main__":
    # Its own lock is shared between processes: one that is killed would keep it.
    tqdm.tqdm.set_lock(threading.RLock())
    tqdm.tqdm.monitor_interval = 0
    files._HOUR = 0  # sweep at every write
    sys.exit(main())
