"""A run of etl that was killed is continued, to the same bytes."""

import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from geoimages import Collection, files, write_rocks
from geoimages.cli import main
from geoimages.collection import writer, writing
from geoimages.collection.journal import journals_of, unfinished

OPTIONS = {"size": (20, 20), "random_state": 0}
KILLED = """
import os, signal, sys
from geoimages import Collection
from geoimages.collection import writer, writing
read, writer._WRITE_BYTES = writing.read_image, 10 * 20 * 20 * 3
left = int(sys.argv[3])
def read_image(*args, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*args, **options)
writing.read_image = read_image
Collection.create(sys.argv[1], sys.argv[2], size=(20, 20), random_state=0)
"""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(writer, "_WRITE_BYTES", 10 * 20 * 20 * 3)


@pytest.fixture
def folder(tmp_path):
    """Pictures in a folder, one of them damaged, and notes."""
    path = tmp_path / "rocks"
    with zipfile.ZipFile(write_rocks(tmp_path / "a.zip", 60, random_state=0)) as file:
        file.extractall(path)
    (path / "aaa.txt").write_text("notes")
    next(path.rglob("*.jpg")).write_bytes(b"damaged")
    return path


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read, up to one that interrupts."""
    read, seen, seen_until = writing.read_image, [], [0]

    def read_image(*args, name, **options):
        seen.append(name)
        if len(seen) == seen_until[0]:
            raise KeyboardInterrupt
        return read(*args, name=name, **options)

    monkeypatch.setattr(writing, "read_image", read_image)

    def stop_at(number):
        seen.clear()
        seen_until[0] = number
        return seen

    return stop_at


def interrupt(reads, number, path, source, **options):
    """Begin a run that can be resumed, and stop it at a file."""
    reads(number)
    with pytest.raises(KeyboardInterrupt):
        Collection.create(path, source, resume=True, **options)
    assert len(journals_of(path)) >= 1
    return reads(0)


def fresh(tmp_path, source, **options):
    """What a run that nothing stops writes."""
    Collection.create(tmp_path / "fresh.h5", source, **options).close()
    return (tmp_path / "fresh.h5").read_bytes()


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_killed_run_is_continued_to_the_same_bytes(folder, tmp_path, reads):
    path = tmp_path / "a.h5"
    path.write_text("old")
    command = [sys.executable, "-c", KILLED, path, folder, "44"]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert "files were read by a run that stopped at 20" in unfinished(path)
    expected, seen = fresh(tmp_path, folder, **OPTIONS), reads(0)
    Collection.create(path, folder, resume=True, **OPTIONS).close()
    assert path.read_bytes() == expected
    assert 17 <= len(seen) <= 27  # 43 of 60 were read before, ten at most not written
    assert hidden(tmp_path) == []
    assert unfinished(path) == ""


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        {"size": (28, 28), "rotate": True},
        {"size": (28, 28), "sample": 0.7, "random_state": 3},
        {"fit": "pad", "size": (20, 24)},
    ],
    ids=str,
)
def test_what_was_read_is_not_read_again(rock_zip, tmp_path, reads, options):
    path = tmp_path / "a.h5"
    expected = fresh(tmp_path, rock_zip, **options)
    seen = interrupt(reads, 30, path, rock_zip, **options)
    first = list(seen)
    Collection.create(path, rock_zip, resume=True, **options).close()
    assert path.read_bytes() == expected
    assert not set(first) & set(seen)
    assert hidden(tmp_path) == []


def test_a_run_is_stopped_and_continued_again_and_again(folder, tmp_path, reads):
    path = tmp_path / "a.h5"
    expected = fresh(tmp_path, folder, **OPTIONS)
    for _ in range(5):
        interrupt(reads, 9, path, folder, **OPTIONS)
    seen = reads(0)
    Collection.create(path, folder, resume=True, **OPTIONS).close()
    assert path.read_bytes() == expected
    assert len(seen) == 60 - 5 * 8
    assert hidden(tmp_path) == []


def test_a_changed_file_is_read_again(folder, tmp_path, reads):
    path = tmp_path / "a.h5"
    interrupt(reads, 40, path, folder, **OPTIONS)
    first = sorted(folder.rglob("*.jpg"))[1]
    last = sorted(folder.rglob("*.jpg"))[-1]
    first.write_bytes(last.read_bytes())
    seen = reads(0)
    Collection.create(path, folder, resume=True, **OPTIONS).close()
    assert first.relative_to(folder).as_posix() in seen
    assert path.read_bytes() == fresh(tmp_path, folder, **OPTIONS)


def test_what_a_crash_left_half_written_is_read_again(folder, tmp_path, reads):
    """A power failure may lose the end of either file, or any block of one."""
    path = tmp_path / "a.h5"
    expected = fresh(tmp_path, folder, **OPTIONS)
    interrupt(reads, 50, path, folder, **OPTIONS)
    (journal,) = journals_of(path)
    part = journal.with_suffix(".part")
    lines, pictures = journal.read_bytes(), part.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(6):
        for left, data in ((journal, bytearray(lines)), (part, bytearray(pictures))):
            at = int(rng.integers(len(data)))
            data[at : at + 2000] = bytes(len(data[at : at + 2000]))
            left.write_bytes(data[: int(rng.integers(at, len(data) + 1))])
        Collection.create(path, folder, resume=True, **OPTIONS).close()
        assert path.read_bytes() == expected
        assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"size": (24, 24)}, "with size=[20, 20], not [24, 24]"),
        ({"fit": "stretch"}, "with fit=crop, not stretch"),
        ({"sample": 0.5}, "with sample=1.0, not 0.5"),
        ({"alpha": True}, "with alpha=False, not True"),
    ],
)
def test_another_request_is_refused(folder, tmp_path, reads, changed, told):
    path = tmp_path / "a.h5"
    interrupt(reads, 30, path, folder, **OPTIONS)
    left = hidden(tmp_path)
    with pytest.raises(ValueError, match="was begun with") as caught:
        Collection.create(path, folder, resume=True, **OPTIONS | changed)
    assert told in str(caught.value)
    assert hidden(tmp_path) == left
    Collection.create(path, folder, **OPTIONS | changed).close()
    assert hidden(tmp_path) == []


def test_a_sample_that_cannot_be_repeated_is_not_resumed(folder, tmp_path):
    with pytest.raises(ValueError, match="random_state=None takes other files"):
        Collection.create(tmp_path / "a.h5", folder, sample=0.5, resume=True)


def test_interrupted_without_resume_nothing_stays(folder, tmp_path, reads):
    reads(30)
    with pytest.raises(KeyboardInterrupt):
        Collection.create(tmp_path / "a.h5", folder)
    assert hidden(tmp_path) == []


def test_the_shell_says_what_was_left(folder, tmp_path, reads, capsys):
    path = tmp_path / "a.h5"
    interrupt(reads, 30, path, folder, **OPTIONS)
    assert main(["etl", str(folder), "-o", str(path), "--size", "20", "20"]) == 0
    assert "starting again; --resume continues it." in capsys.readouterr().err
    interrupt(reads, 30, path, folder, **OPTIONS)
    command = ["etl", str(folder), "-o", str(path), "--resume", "--size"]
    assert main([*command, "20", "21"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[1].startswith(f"Error: {path} was begun with --size [20, 20], not")
    seen = reads(0)
    assert main([*command, "20", "20"]) == 0
    assert "30 files were read by a run" in capsys.readouterr().err
    assert len(seen) == 31


def test_leftovers_that_can_be_resumed_stay_a_month(folder, tmp_path, reads):
    path = tmp_path / "a.h5"
    interrupt(reads, 30, path, folder, **OPTIONS)
    for days, n_left in ((2, 2), (40, 0)):
        for name in hidden(tmp_path):
            os.utime(tmp_path / name, (time.time() - days * 86400,) * 2)
        files._swept.clear()
        with files.atomic_path(tmp_path / "other") as temporary:
            temporary.write_text("new")
        assert len(hidden(tmp_path)) == n_left
