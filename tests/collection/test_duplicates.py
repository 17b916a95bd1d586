"""Copies are found, and what only looks alike is not."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoimages import Collection, find_duplicates, make_rocks
from geoimages.collection import duplicates
from geoimages.pictures.orientation import rotate

ROCKS, LABELS = make_rocks(300, random_state=3)


def jpeg(image, quality):
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def lit(image, gain):
    return np.clip(np.rint(image * gain), 0, 255).astype(np.uint8)


def planted(copy, n=40):
    """The rocks, then a copy of every other of the first 2n."""
    copies = np.stack([copy(image) for image in ROCKS[: 2 * n : 2]])
    return np.concatenate([ROCKS, copies]), np.arange(0, 2 * n, 2)


def recall(found, originals):
    """Share of the copies found, after a look that nothing else was."""
    pairs = found.pairs
    right = pairs["duplicate_of"] == originals[pairs["key"] - len(ROCKS)]
    assert right.all()
    return len(pairs) / len(originals)


@pytest.mark.parametrize("how", [(k, m) for m in (False, True) for k in (0, 90, 270)])
def test_turned_copies_are_found_and_say_how(how):
    images, originals = planted(lambda x: rotate(x[None], *how)[0])
    found = find_duplicates(images)
    assert recall(found, originals) == 1
    kind = "exact" if how == (0, False) else "turned"
    assert (found.pairs["kind"] == kind).all()
    for row in found.pairs.itertuples():
        again = rotate(images[[row.duplicate_of]], row.orientation, row.mirrored)[0]
        np.testing.assert_array_equal(again, images[row.key])


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: jpeg(x, 60),
        lambda x: jpeg(x, 40),
        lambda x: lit(x, 0.92),
        lambda x: lit(x, 1.08),
        lambda x: jpeg(lit(np.rot90(x)[:, ::-1], 0.92), 60),
    ],
    ids=["jpeg 60", "jpeg 40", "darker", "lighter", "all at once"],
)
def test_near_copies_are_found_and_nothing_else(copy):
    images, originals = planted(copy)
    found = find_duplicates(images)
    assert recall(found, originals) >= 0.95
    assert (found.pairs["kind"] == "near").all()


def test_near_copies_say_how_they_were_turned():
    images, _ = planted(lambda x: jpeg(np.rot90(x[:, ::-1], 3), 60))
    pairs = find_duplicates(images).pairs
    right = (pairs["orientation"] == 270) & pairs["mirrored"]
    assert right.mean() > 0.9


def test_drawn_rocks_are_no_copies():
    assert not len(find_duplicates(make_rocks(600, random_state=8)[0]).pairs)


@pytest.mark.parametrize(("noise", "least"), [(0.5, 5), (2, 18), (6, 20)])
def test_calm_water_is_no_copy_of_calm_water(noise, least):
    rng = np.random.default_rng(0)
    down, across = np.mgrid[-1:1:28j, -1:1:28j]
    slope = rng.normal(0, noise / 2, (2, 300, 1, 1))
    slope = (slope[0] * down + slope[1] * across)[..., None]
    water = np.array([70, 110, 150]) + slope + rng.normal(0, noise, (300, 28, 28, 3))
    water = np.rint(water).astype(np.uint8)
    assert not len(find_duplicates(water).pairs)
    copies = np.concatenate([water, lit(water[:20, :, ::-1], 0.95)])
    pairs = find_duplicates(copies).pairs
    assert (pairs["duplicate_of"] == pairs["key"] - 300).all()
    assert len(pairs) >= least


def test_blank_pictures_are_copies_only_where_identical():
    levels = np.array([10, 10, 11, 200, 200], np.uint8)
    blank = np.broadcast_to(levels[:, None, None, None], (5, 28, 28, 3))
    pairs = find_duplicates(blank).pairs
    assert pairs[["key", "duplicate_of"]].to_numpy().tolist() == [[1, 0], [4, 3]]


def test_groups_and_contradictions():
    images = np.concatenate([ROCKS[:6], ROCKS[:2], np.rot90(ROCKS[:1], axes=(1, 2))])
    keys = [f"r{i}" for i in range(9)]
    frame = pd.DataFrame(images.reshape(9, -1), index=keys)
    labels = ["a"] * 6 + ["a", "", "b"]
    found = find_duplicates(frame, labels=labels)
    assert found.groups.to_dict() == {"r0": 0, "r1": 1, "r6": 0, "r7": 1, "r8": 0}
    assert found.contradictions["key"].tolist() == ["r8"]
    assert found.contradictions["label_of_duplicate"].tolist() == ["a"]
    assert "5 of 9 pictures have a copy, in 2 groups" in repr(found)
    assert find_duplicates(frame).contradictions.empty
    nothing = find_duplicates(images[:3], labels=labels[:3])
    assert nothing.groups.empty
    assert nothing.contradictions.empty


def test_many_copies_of_one_picture_give_no_more_links_than_pictures():
    rng = np.random.default_rng(0)
    frames = ROCKS[0] + rng.integers(-2, 3, (200, 28, 28, 3))
    found = find_duplicates(np.clip(frames, 0, 255).astype(np.uint8))
    assert len(found.pairs) == 199
    assert set(found.groups) == {0}


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_collection_and_its_rows_give_the_same(tmp_path, dtype):
    images, _ = planted(lambda x: jpeg(np.rot90(x), 60), 10)
    labels = np.concatenate([LABELS, LABELS[:20:2]])
    with Collection.from_arrays(tmp_path / "a.h5", images, labels) as rocks:
        found = find_duplicates(rocks)
        rows = find_duplicates(rocks.to_frame(dtype), labels=labels)
    pd.testing.assert_frame_equal(found.pairs, rows.pairs)
    assert len(found.pairs) == 10


@pytest.mark.parametrize("shape", [(90, 90, 3), (40, 70, 3), (20, 36, 3), (64, 64, 4)])
def test_pictures_of_other_shapes(shape):
    images, _ = make_rocks(60, image_shape=(*shape[:2], 3), random_state=0)
    if shape[2] == 4:
        mask = np.full((*images.shape[:3], 1), 255, np.uint8)
        mask[:, :9, :9] = 0
        images = np.concatenate([images, mask], axis=3)
        copies = np.rot90(images[:5], 2, axes=(1, 2))
    else:
        copies = np.stack([jpeg(x[::-1], 50) for x in images[:5]])
    found = find_duplicates(np.concatenate([images, copies])).pairs
    assert found["key"].tolist() == [60, 61, 62, 63, 64]
    assert found["duplicate_of"].tolist() == [0, 1, 2, 3, 4]


def test_blocks_do_not_change_what_is_found(monkeypatch):
    images, _ = planted(lambda x: jpeg(np.rot90(x), 60))
    expected = find_duplicates(images).pairs
    monkeypatch.setattr(duplicates, "_TILE", (37, 53))
    monkeypatch.setattr(duplicates, "_PAIRS", 7)
    monkeypatch.setattr(duplicates, "_BLOCK_BYTES", 1 << 18)
    pairs = find_duplicates(images).pairs
    pd.testing.assert_frame_equal(pairs, expected)


def test_no_copy_is_lost_to_the_sketch_that_no_turn_changes():
    spectra, _ = duplicates._spectra(ROCKS)
    a, b = duplicates._invariants(spectra[:150]), duplicates._invariants(spectra[150:])
    bound = a @ b.T
    for how in [(k, m) for m in (False, True) for k in (0, 90, 180, 270)]:
        turned, _ = duplicates._spectra(rotate(ROCKS[150:], *how))
        expected = duplicates._turn_spectra(spectra[150:], *how)
        np.testing.assert_allclose(turned, expected, atol=1e-4)
        alike = np.einsum("nij,mij->nm", spectra[:150], turned)
        assert (alike <= bound + 1e-4).all()


def test_a_list_of_pictures():
    found = find_duplicates([ROCKS[0], ROCKS[1], ROCKS[0]])
    assert found.pairs[["key", "duplicate_of"]].to_numpy().tolist() == [[2, 0]]


@pytest.mark.parametrize("missing", ["", None, np.nan, pd.NA])
def test_a_missing_label_contradicts_none(missing):
    labels = np.array(["a", missing, missing], object)
    found = find_duplicates(ROCKS[[0, 0, 0]], labels=labels)
    assert len(found.pairs) == 2
    assert len(found.contradictions) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": pd.DataFrame(ROCKS[:2].reshape(2, -1), ["a", "a"])}, "'a' stands twice"),
        (
            {"similarity": 0},
            "similarity must be a correlation above 0 and up to 1, got 0",
        ),
        ({"residual": -1}, "residual must be 0 or more, got -1"),
        ({"labels": ["a"]}, "inconsistent numbers of samples"),
        ({"X": ROCKS[0]}, r"got an array of shape \(28, 28, 3\)"),
        ({"X": ROCKS[:2] / 2.0}, "Float pictures hold values .* divide"),
        ({"X": ROCKS[:2] * np.nan}, "hold numbers, got float64 with values that are"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        find_duplicates(**({"X": ROCKS[:3]} | change))


@pytest.mark.real
def test_the_real_archive(real_rocks):
    found = find_duplicates(real_rocks)
    counts = found.pairs["kind"].value_counts()
    assert counts["exact"] == 6
    assert 100 <= counts["near"] <= 200
    assert found.contradictions.empty
    assert found.groups.value_counts().max() <= 20


def test_pictures_of_one_group_are_not_read_again(monkeypatch):
    noise = np.random.default_rng(0).integers(-3, 4, (1000, *ROCKS.shape[1:]))
    pictures = duplicates._Pictures(
        np.clip(ROCKS[:20].repeat(50, axis=0) + noise, 0, 255).astype(np.uint8)
    )
    read, get = [], duplicates._Pictures.__getitem__
    monkeypatch.setattr(duplicates, "_TILE", (32, 64))
    monkeypatch.setattr(duplicates, "_PAIRS", 64)
    monkeypatch.setattr(
        duplicates._Pictures,
        "__getitem__",
        lambda self, at: read.append(len(get(self, at))) or get(self, at),
    )
    found = find_duplicates(pictures._images)
    assert len(found.pairs) == len(found.groups) - found.groups.nunique() > 700
    assert sum(read) < 2400  # each once for its fingerprint, and once to compare
