"""Features kept beside a collection: found again, bounded, and never trusted blindly."""

import json
import os

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

from geoimages import Collection


@pytest.fixture
def path(pictures, tmp_path):
    path = tmp_path / "a.h5"
    Collection.from_arrays(path, *pictures).close()
    return path


@pytest.fixture
def rows(pictures):
    return pictures[0].reshape(120, -1) / np.float32(255)


class Counting(PCA):
    """It counts how often it is asked."""

    n_calls = 0

    def transform(self, X):
        Counting.n_calls += 1
        return super().transform(X)


@pytest.fixture
def pca(rows):
    Counting.n_calls = 0
    return Counting(3, random_state=0).fit(rows)


def names_beside(path):
    return sorted(other.name for other in path.parent.iterdir() if other != path)


def test_features_are_found_again_by_what_made_them(path, pca, rows):
    before = path.read_bytes()
    with Collection(path) as rocks:
        computed = rocks.features(pca)
    assert names_beside(path) == []
    with Collection(path, "r+") as rocks:
        np.testing.assert_array_equal(rocks.features(pca), computed)
        assert "Kept the features in a.h5." in rocks.cache.notes[0]
        rocks.features(Counting(3, random_state=0).fit(rows[:60]))
        assert len(rocks.cache.files()) == len(names_beside(path)) == 2
    n_calls = Counting.n_calls
    with Collection(path) as rocks:
        np.testing.assert_array_equal(rocks.features(pca), computed)
        assert Counting.n_calls == n_calls
        assert rocks.features(pca.set_params(whiten=True)).shape == (120, 3)
        assert Counting.n_calls == n_calls + 1
    assert path.read_bytes() == before
    with Collection.from_arrays(path, 255 - rocks_of(path), None) as rocks:
        assert np.abs(rocks.features(pca.set_params(whiten=False)) - computed).max() > 1


def rocks_of(path):
    with Collection(path) as rocks:
        return rocks[:]


def flip(data):
    return data[:-9] + bytes([data[-9] ^ 16]) + data[-8:]


def header(**changes):
    def change(data):
        line, _, rest = data.partition(b"\n")
        return json.dumps(json.loads(line) | changes).encode() + b"\n" + rest

    return change


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda data: data[:-8],
        lambda data: b"",
        lambda data: b"x" * 100_000,
        lambda data: b"[]\n" + data,
        lambda data: np.random.default_rng(0).bytes(len(data)),
        header(shape=[60, 6]),
        header(shape=[-120, -3]),
        header(shape=[120, 3, 1]),
        header(dtype="|O"),
        header(dtype="<f2"),
        header(key="0" * 64),
        header(sha256=""),
    ],
)
def test_what_is_damaged_is_computed_again(path, pca, damage):
    with Collection(path, "r+") as rocks:
        computed = rocks.features(pca)
        (file,) = rocks.cache.files()
    file.write_bytes(damage(file.read_bytes()))
    n_calls = Counting.n_calls
    with Collection(path, "r+") as rocks:
        np.testing.assert_array_equal(rocks.features(pca), computed)
    assert Counting.n_calls == n_calls + 1
    with Collection(path) as rocks:  # and was written again
        np.testing.assert_array_equal(rocks.features(pca), computed)
    assert Counting.n_calls == n_calls + 1


def test_what_was_used_longest_ago_goes_first(path, rows):
    transformers = [PCA(60, random_state=seed).fit(rows) for seed in range(3)]
    n_bytes = 120 * 60 * 4
    with Collection(path, "r+", cache_size=3 * n_bytes) as rocks:
        for one in transformers[:2]:
            rocks.features(one)
        oldest, newest = rocks.cache.files()
        os.utime(newest, (1, 1))
        os.utime(oldest, (2, 2))
        rocks.features(transformers[2])
        assert newest not in rocks.cache.files()
        assert oldest in rocks.cache.files()
        assert rocks.cache.clear() == 2
        assert names_beside(path) == []
    with Collection(path, "r+", cache_size=n_bytes - 1) as rocks:
        rocks.features(transformers[0])
        assert rocks.cache.notes == ["The features (0.0 MB) are too large to be kept."]
        assert names_beside(path) == []


def test_where_nothing_can_be_written_it_goes_on_without(path, pca, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied", str(path.parent))

    monkeypatch.setattr("os.replace", refuse)
    with Collection(path, "r+") as rocks:
        assert rocks.features(pca).shape == (120, 3)
        assert rocks.cache.notes[0].endswith("could not be kept: Permission denied.")
    assert names_beside(path) == []


def test_what_cannot_be_named_is_not_kept(path):
    means = FunctionTransformer(lambda rows: rows.mean(axis=1, keepdims=True))
    with Collection(path, "r+") as rocks:
        assert rocks.features(means.fit([[0]])).shape == (120, 1)
    assert names_beside(path) == []


def test_a_header_that_was_changed_is_not_believed(path, pca):
    """The dtype says how to read the rows, which have a checksum themselves."""
    with Collection(path, "r+") as rocks:
        computed = rocks.features(pca)
        (file,) = rocks.cache.files()
    data = file.read_bytes()
    for other in (b'"<i4"', b'">f4"', b'"<u4"'):
        file.write_bytes(data.replace(b'"<f4"', other))
        assert file.read_bytes() != data
        with Collection(path) as rocks:
            np.testing.assert_array_equal(rocks.features(pca), computed)
