"""Files appear whole or not at all."""

import os

import pytest

from geoimages.files import atomic_path, progress


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
