"""Files appear whole or not at all."""

import errno
import io
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from geoimages import Collection, ImageReadError, Votes, files, load, read_image
from geoimages.files import (
    QuietFile,
    atomic_path,
    let_go,
    listening,
    locked,
    progress,
    read_regular,
)
from geoimages.search import load_index


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [lambda part: (13, "Permission denied", str(part)), lambda part: (str(part),)],
)
def test_an_error_names_the_file_asked_for(tmp_path, error):
    path = tmp_path / "p.png"
    with pytest.raises(OSError, match=r"/p\.png") as caught, atomic_path(path) as part:
        raise OSError(*error(part))
    assert ".part" not in str(caught.value)


def test_a_folder_that_takes_no_files_is_named():
    path = "/proc/a.skops"
    if not os.path.isdir("/proc/self"):
        pytest.skip("needs /proc")
    with (
        pytest.raises(OSError, match="its folder /proc takes no new files") as caught,
        atomic_path(path) as part,
        open(part, "wb"),
    ):
        pass
    assert str(caught.value).startswith("/proc/a.skops cannot be written: ")
    assert "None" not in str(caught.value)
    assert "Errno" not in str(caught.value)
    assert caught.value.errno


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EDQUOT])
def test_a_failed_write_names_the_file_and_the_reason(tmp_path, code):
    path = tmp_path / "a.h5"
    path.write_text("old")
    with pytest.raises(OSError, match="cannot be written") as caught, atomic_path(path):
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == (
        f"{path} cannot be written: {os.strerror(code)}; name another place; the old "
        "file is unchanged."
    )
    assert caught.value.errno == code
    assert path.read_text() == "old"


def test_a_file_that_cannot_be_read_is_not_blamed_on_the_target(tmp_path):
    error = OSError(errno.EIO, os.strerror(errno.EIO), "/media/photo.jpg")
    with pytest.raises(OSError, match="photo.jpg") as c, atomic_path(tmp_path / "a"):
        raise error
    assert c.value is error


class FullDisk(io.FileIO):
    """A file that takes a number of writes, and is neither cut nor made longer."""

    left = 0

    def write(self, data):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)

    def truncate(self, size=None):
        self.left = -1
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


@pytest.mark.parametrize("n_writes", range(8))
def test_hdf5_sees_no_error_of_writing(tmp_path, capfd, n_writes):
    """It goes on after one, fails to close, and complains on its own."""
    closed = False
    with pytest.raises(OSError, match="No space left|File too large") as caught:  # noqa: SIM117
        with QuietFile(tmp_path / "a.h5") as disk:
            disk._file.close()
            disk._file = FullDisk(tmp_path / "a.h5", "w+")
            disk._file.left = n_writes
            with h5py.File(disk, "w") as file:
                for name in "abcd":
                    file[name] = range(10_000)
                    file.flush()
            closed = True
    assert closed  # without an error of HDF5
    assert caught.value is disk.error
    assert capfd.readouterr() == ("", "")


HOLD = """
import sys, time
from geoimages import files
from geoimages.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path / "rocks.h5" for writing."""
    path = tmp_path / "rocks.h5"
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_second_writer_is_told_who_holds_the_file(tmp_path, holder):
    path = tmp_path / "rocks.h5"
    with pytest.raises(BlockingIOError) as caught, locked(path):
        pass
    who = f"process {holder.pid} on {socket.gethostname()} since {time.strftime('%Y')}"
    assert str(caught.value).startswith(f"{path} is being written by {who}-")
    with locked(tmp_path / "others.h5") as held:
        assert held


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path, holder):
    path, lock = tmp_path / "rocks.h5", tmp_path / ".rocks.h5.lock"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock.exists()
    with locked(path) as held:
        assert held
        assert f'"pid": {os.getpid()}' in lock.read_text()
        same = f"process {os.getpid()} on"
        with pytest.raises(BlockingIOError, match=same), locked(path):
            pass
    assert not lock.exists()


def test_a_lock_that_was_just_removed_is_not_held(tmp_path, monkeypatch):
    """Who held it before removes its name while another waits at it."""
    lock, take, taken = tmp_path / ".rocks.h5.lock", files._try_lock, []

    def take_late(file):
        if not taken:
            lock.unlink()
        taken.append(file)
        take(file)

    monkeypatch.setattr(files, "_try_lock", take_late)
    with locked(tmp_path / "rocks.h5"):
        assert len(taken) == 2
        assert lock.exists()


def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch):
    def refuse(file):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("geoimages.files._try_lock", refuse)
    with locked(tmp_path / "rocks.h5") as held:
        assert not held
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="its folder does not exist"),
        atomic_path(tmp_path / "no" / "a.txt"),
    ):
        pass


def test_parts_of_a_killed_run_go_a_day_later(tmp_path):
    parts = [".a.h5.0123abcd.part", ".b.h5.0123abcd.part", ".a.h5.mine.part"]
    for name in parts:
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".a.h5.ffffffff.part").write_text("of a run under way")
    with atomic_path(tmp_path / "a.h5") as temporary:
        temporary.write_text("new")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.h5", ".a.h5.ffffffff.part", parts[2]}
    os.utime(tmp_path / ".a.h5.ffffffff.part", (0, 0))
    with atomic_path(tmp_path / "a.h5") as temporary:  # looks only once an hour
        temporary.write_text("newer")
    assert (tmp_path / ".a.h5.ffffffff.part").exists()


def test_progress_is_silent_when_nobody_watches(capfd):
    assert list(progress(range(3), desc="counting")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_to_who_listens(capfd):
    told = []
    with listening(lambda *step: told.append(step)):
        assert list(progress([7, 8], desc="counting")) == [7, 8]
        with progress(desc="adding", total=5) as bar:
            bar.update(3)
    assert told == [("counting", 1, 2), ("counting", 2, 2), ("adding", 3, 5)]
    list(progress([1], desc="alone"))
    assert len(told) == 3
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def special(tmp_path):
    """Files that block when they are opened, or have no end."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "socket.png"))
        with open(tmp_path / "sparse.png", "wb") as file:
            file.truncate(1 << 40)
        yield tmp_path


@pytest.mark.parametrize("name", ["fifo.png", "zero.png", "socket.png", "sparse.png"])
def test_what_blocks_or_has_no_end_is_not_read(special, name):
    path = special / name
    for read in (read_regular, read_image, Collection, load, load_index, Votes):
        with pytest.raises((OSError, ValueError)) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    for options in ({"metadata": path}, {"source": path}):
        with pytest.raises((OSError, ValueError)):
            Collection.create(special / "a.h5", **{"source": special} | options)
    with pytest.raises(ImageReadError, match="not-a-picture|too-large"):
        read_image(path)


def test_a_folder_of_what_blocks_is_accounted_for(special, draw):
    draw("a.png")
    with Collection.create(special / "a.h5", special) as rocks:
        assert rocks.keys.tolist() == ["a"]
        ledger = rocks.ledger.set_index("path")
        assert "at most 1,073,741,824" in ledger["detail"]["sparse.png"]
        assert "socket" in ledger["detail"]["fifo.png"]
        assert set(ledger.index) == {p.name for p in special.iterdir()} - {"a.h5"}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_mapped_pages_are_given_back(tmp_path):
    def shared():
        return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE

    np.arange(1 << 22, dtype=np.float32).tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float32, "r")
    total, before = mapped.sum(), shared()
    let_go(mapped[5:].reshape(-1, 1))
    assert before - shared() > 1 << 23
    assert mapped.sum() == total
    own = np.memmap(tmp_path / "rows", np.float32, "c")
    own[7] = -1  # which would be lost
    let_go(own)
    let_go(np.ones(3))
    let_go(mapped.astype(np.float64))  # a memmap that maps nothing
    assert own[7] == -1
