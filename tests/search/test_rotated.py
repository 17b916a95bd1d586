"""Stored turns of one picture are kept once and found like any other row."""

import numpy as np
import pandas as pd
import pytest

from geoimages import PairwiseModel, load, make_rocks, save
from geoimages.search import ExactSearch
from geoimages.search.rotated import RotatedRows, deduplicate_rotations

SHAPE = (28, 28, 3)


@pytest.fixture(scope="module")
def images():
    return make_rocks(40, random_state=0)[0]


@pytest.fixture(scope="module")
def rows(images):
    """All four turns of each picture, shuffled."""
    turns = [np.rot90(images, k, axes=(1, 2)) for k in range(4)]
    rows = np.concatenate(turns).reshape(160, -1)
    return rows[np.random.default_rng(0).permutation(160)]


def test_they_read_as_the_rows_they_stand_for(rows):
    kept = deduplicate_rotations(rows, SHAPE)
    assert isinstance(kept, RotatedRows)
    assert len(kept.base) == 40
    assert kept.nbytes < rows.nbytes / 3
    assert kept.shape == rows.shape
    np.testing.assert_array_equal(kept[:], rows)
    np.testing.assert_array_equal(kept[np.array([9, 3, 3])], rows[[9, 3, 3]])
    np.testing.assert_array_equal(kept[5], rows[5])


def test_flat_and_symmetric_pictures(rows):
    flat = np.full((4, rows.shape[1]), 7, np.uint8)
    together = np.concatenate([flat, rows[:1], rows[:1], flat + 1])
    kept = deduplicate_rotations(together, SHAPE)
    assert len(kept.base) == 3
    assert not kept.quarters[:4].any()
    np.testing.assert_array_equal(kept[:], together)


def test_pictures_of_one_signature_are_still_told_apart(rows, monkeypatch):
    monkeypatch.setattr(
        "geoimages.search.rotated._signatures", lambda rows, _: np.zeros(len(rows), int)
    )
    some = rows[:24]
    kept = deduplicate_rotations(some, SHAPE)
    every = kept[:] if isinstance(kept, RotatedRows) else kept
    np.testing.assert_array_equal(every, some)


def test_what_does_not_pay_stays_as_it_is(images):
    rows = images.reshape(40, -1)
    assert deduplicate_rotations(rows, SHAPE) is rows
    narrow = images[:, :, :14].reshape(40, -1)
    assert deduplicate_rotations(np.repeat(narrow, 4, axis=0), (28, 14, 3)) is not None
    assert isinstance(
        deduplicate_rotations(np.repeat(narrow, 4, axis=0), (28, 14, 3)), np.ndarray
    )


@pytest.mark.parametrize(
    "metric", ["correlation", "cosine", "euclidean", "cityblock", "chebyshev"]
)
def test_the_answers_are_those_of_the_rows(rows, metric):
    rank = np.random.default_rng(1).permutation(160)
    queries = np.concatenate([rows[:6], rows[6:12] // 2])
    plain = ExactSearch(rows, rank).search(queries, 9, metric, n_orientations=2)
    turned = ExactSearch(deduplicate_rotations(rows, SHAPE), rank)
    found = turned.search(queries, 9, metric, n_orientations=2)
    for a, b in zip(plain, found, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("orientation", ["fixed", "any"])
def test_the_model_keeps_turns_once(rows, orientation, monkeypatch, tmp_path):
    keys = [f"rock.{i:03d}" for i in range(160)]
    frame = pd.DataFrame(rows, index=keys)
    model = PairwiseModel(7, orientation=orientation).fit(frame)
    assert isinstance(model.search_.rows, RotatedRows)
    found = model.predict(keys[:5])
    monkeypatch.setattr(
        "geoimages.similarity.base.deduplicate_rotations", lambda rows, _: rows
    )
    plain = PairwiseModel(7, orientation=orientation).fit(frame)
    pd.testing.assert_frame_equal(found, plain.predict(keys[:5]))
    save(model, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    pd.testing.assert_frame_equal(found, loaded.predict(keys[:5]))


def test_turned_pictures_are_parted_added_and_removed(rows):
    keys = [f"rock.{i:03d}" for i in range(160)]
    frame = pd.DataFrame(rows, index=keys)
    exact = PairwiseModel(7).fit(frame)
    wanted = exact.predict(keys[:5])
    parted = PairwiseModel(7, algorithm="partitioned", recall_target=1).fit(frame)
    pd.testing.assert_frame_equal(parted.predict(keys[:5]), wanted)
    half = PairwiseModel(7).fit(frame.iloc[:100]).add(frame.iloc[100:])
    assert isinstance(half.search_.rows, RotatedRows)
    pd.testing.assert_frame_equal(half.predict(keys[:5]), wanted)
    half.remove(keys[100:])
    again = PairwiseModel(7).fit(frame.iloc[:100])
    pd.testing.assert_frame_equal(half.predict(keys[:5]), again.predict(keys[:5]))
