"""Files that HDF5 cannot be trusted with: seals, and the process that opens others."""

import shutil
import struct
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from geoimages import Collection, make_rocks
from geoimages.collection import checking, sealing


@pytest.fixture(scope="module")
def whole(tmp_path_factory, rock_zip):
    path = tmp_path_factory.mktemp("sealed") / "a.h5"
    Collection.create(path, rock_zip).close()
    return path


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "a.h5")


def refuse_to_start(*args, **options):
    raise AssertionError("a process was started")


def test_a_file_of_ours_is_opened_at_once(path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", refuse_to_start)
    assert sealing.is_sealed(path)
    with Collection(path) as rocks:
        assert len(rocks) == 60


def test_hdf5_never_sees_a_file_whose_seal_does_not_fit(path, monkeypatch):
    """Flips of every part but the pictures, which have checksums of their own."""
    data = path.read_bytes()
    with h5py.File(path) as file:
        first = file["images"].id.get_offset()
        last = first + file["images"].nbytes
    monkeypatch.setattr("geoimages.collection.file.h5py.File", refuse_to_start)
    rng = np.random.default_rng(0)
    outside = [*range(first), *range(last, len(data) - 8)]  # the mark itself is last
    for at in rng.choice(outside, 150, replace=False):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a valid collection.*(seal|damaged)"):
            Collection(path)
    path.write_bytes(data[:100] + data[200:])
    with pytest.raises(ValueError, match="not a valid collection"):
        Collection(path)


def test_a_file_without_its_seal_is_opened_elsewhere_first(path, monkeypatch):
    with h5py.File(path, "r+"):
        pass  # HDF5 cuts what follows its end
    assert not sealing.is_sealed(path)
    with Collection(path) as rocks:
        assert rocks.verify() == []
    monkeypatch.setattr(subprocess, "run", refuse_to_start)
    with pytest.raises(AssertionError, match="a process was started"):
        Collection(path)


def test_a_file_in_which_hdf5_goes_in_circles_is_given_up(tmp_path, monkeypatch):
    """The size of an object on the global heap is one that leads back to it."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["X_Train_Orig"] = np.zeros((4, 8, 8, 3), np.uint8)
        file.create_dataset(
            "Y_Train_Orig", data=list("abcd"), dtype=h5py.string_dtype()
        )
    data = bytearray(path.read_bytes())
    at = data.index(b"GCOL") + 16
    data[at : at + 16] = struct.pack("<HHIQ", 1, 1, 0, 2**64 - 16)
    path.write_bytes(data)
    program = Path(checking.__file__).read_text(encoding="utf-8")
    quick = tmp_path / "checking.py"
    quick.write_text(program.replace("SECONDS = 5 ", "SECONDS = 1 "), encoding="utf-8")
    monkeypatch.setattr(checking, "__file__", str(quick))
    monkeypatch.setattr(sealing, "_MOST_SECONDS", 20)  # ended by its timer before
    with pytest.raises(ValueError, match="cannot be opened within 5 s"):
        Collection(path)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "library crash"),
        ("raise SystemExit('no h5py')\n", "could not be checked: no h5py"),
        ("import time\ntime.sleep(9)\n", "cannot be opened within 1 s"),
    ],
)
def test_what_becomes_of_the_other_process_is_said(
    path, tmp_path, monkeypatch, program, message
):
    with h5py.File(path, "r+"):
        pass
    other = tmp_path / "other.py"
    other.write_text(program, encoding="utf-8")
    monkeypatch.setattr(checking, "__file__", str(other))
    monkeypatch.setattr(sealing, "_MOST_SECONDS", 1 if "sleep" in program else 60)
    with pytest.raises(ValueError, match=message):
        Collection(path)


def all_datasets(path):
    found = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: found.append(item))
        return [
            (item.name, item.dtype, list(item.attrs.values()))
            for item in found
            if isinstance(item, h5py.Dataset)
        ], list(file.attrs.values())


def test_no_file_of_ours_uses_the_global_heap(tmp_path, draw):
    """However unlike its texts are in length."""
    draw("rocks/a/1.png"), draw("rocks/a/2.png", seed=1)
    (tmp_path / "rocks/a/broken.jpg").write_bytes(b"x" * 99)
    long = "é" * 500_000
    table = pd.DataFrame({"file": ["1.png", "x" * 300_000], "said": [long, "b"]})
    path = tmp_path / "a.h5"
    with Collection.create(path, tmp_path / "rocks", metadata=table) as rocks:
        assert rocks.table["said"].tolist() == [long, ""]
        assert rocks.unmatched == ["x" * 300_000]
        assert "2 values" not in rocks.summary()
        assert rocks.verify() == []
    datasets, attributes = all_datasets(path)
    assert len(datasets) > 15
    assert b"GCOL" not in path.read_bytes()
    for _, dtype, values in datasets:
        assert dtype.kind in "iufS"
        assert not any(isinstance(value, str) for value in values)
    assert not any(isinstance(value, str) for value in attributes)


def test_names_of_a_megabyte_cost_no_gigabytes(tmp_path, draw):
    for i in range(3):
        draw(f"rocks/a/{i}.png", seed=i)
    table = pd.DataFrame({"file": ["0.png", "1.png"], "label": ["a", "b" * 10**6]})
    with pytest.raises(ValueError, match=r"A name of 1,000,000 characters"):
        Collection.create(tmp_path / "a.h5", tmp_path / "rocks", metadata=table)
    images, _ = make_rocks(3, random_state=0)
    with pytest.raises(ValueError, match=r"A name of 2,000 characters"):
        Collection.from_arrays(tmp_path / "a.h5", images, keys=["a", "b", "c" * 2000])


@pytest.mark.parametrize("packing", [None, "gzip"])
def test_a_shape_that_nothing_stands_behind_is_refused(tmp_path, packing):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "X_Train_Orig",
            (1 << 40, 28, 28, 3),
            np.uint8,
            chunks=(1, 28, 28, 3),
            compression=packing,
        )
    with pytest.raises(ValueError, match=r"claims .* bytes, of which it holds 0"):
        Collection(path)


def test_opening_is_interrupted(path, monkeypatch):
    with h5py.File(path, "r+"):
        pass

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Collection(path)
    path.unlink()
