"""Copies are found, and what only looks alike is not."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoimages import Collection, find_duplicates, make_rocks
from geoimages.collection import duplicates, near_duplicates
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


def fully_compared(images, similarity=0.9, residual=1.1):
    """Links among all pairs of pictures, by position of the later and the earlier."""
    pictures = duplicates._Pictures(images)
    rows = near_duplicates.sorted_rows(
        np.arange(len(images)), *near_duplicates.fingerprints(images)
    )
    verifier = near_duplicates._Verifier(rows, pictures, similarity, residual)
    links = verifier.verify(*np.triu_indices(len(images), 1))
    a, b, how = links[:, :3].T.astype(int)
    a, b = rows["position"][a], rows["position"][b]
    told = [
        (*pictures.turns[t], *row) for t, row in zip(how, links[:, 3:], strict=True)
    ]
    return dict(zip(zip(a, b, strict=True), told, strict=True))


def varied(n, seed):
    """Rocks, and copies of them in every orientation and in other light."""
    rng = np.random.default_rng(seed)
    images = [ROCKS[:n]]
    for turn in [(k, m) for m in (False, True) for k in (0, 90, 180, 270)]:
        gains = rng.uniform(0.8, 1.25, (n, 1, 1, 1)) * rng.uniform(
            0.98, 1.02, (n, 1, 1, 3)
        )
        relit = np.clip(np.rint(rotate(ROCKS[:n], *turn) * gains), 0, 255)
        images.append(np.stack([jpeg(x, 50) for x in relit.astype(np.uint8)]))
    return np.concatenate(images)


@pytest.mark.parametrize("cell", [5, 60, 512])
@pytest.mark.parametrize("limits", [(0.9, 1.1), (0.6, 2.5)])
def test_no_pair_of_a_full_comparison_is_lost(monkeypatch, cell, limits):
    images = varied(30, 0)
    expected = fully_compared(images, *limits)
    for name, value in {"_CELL": cell, "_CHUNK": 53, "_BLOCK": 31, "_PAIRS": 7}.items():
        monkeypatch.setattr(near_duplicates, name, value)
    monkeypatch.setattr(near_duplicates, "_HELD", 20)
    monkeypatch.setattr(duplicates, "_BLOCK_BYTES", 1 << 18)
    similarity, residual = limits
    found = find_duplicates(images, similarity=similarity, residual=residual)
    assert 100 < len(found.pairs) < len(expected)
    ids = near_duplicates.components(len(images), *np.transpose(list(expected)))
    groups = found.groups
    assert len(groups) == np.sum(np.bincount(ids)[ids] > 1)
    assert len(set(zip(groups, ids[groups.index], strict=True))) == groups.nunique()
    assert groups.nunique() == len(set(ids[groups.index]))
    for row in found.pairs.itertuples():
        told = (row.orientation, row.mirrored, row.similarity, row.residual)
        assert told == expected[row.key, row.duplicate_of]


def test_frames_that_all_look_alike_are_told_apart_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    down, across = np.mgrid[-1:1:28j, -1:1:28j]
    darker = 8 * (down**2 + across**2)[..., None]  # to the corners, as lenses do
    frames = np.array([70, 110, 150]) - darker + rng.normal(0, 3, (60, 28, 28, 3))
    images = np.rint(frames).astype(np.uint8)
    images = np.concatenate([images, lit(images[:9, :, ::-1], 0.95)])
    one_by_one = []

    def einsum(how, a, b, einsum=np.einsum):
        one_by_one.append(len(a) if a.ndim == 4 else 0)
        return einsum(how, a, b)

    monkeypatch.setattr(near_duplicates.np, "einsum", einsum)
    found = find_duplicates(images).pairs
    assert found["duplicate_of"].tolist() == list(range(9))
    assert sum(one_by_one) < 100
    monkeypatch.setattr(near_duplicates, "_CROWDED", 0)
    pd.testing.assert_frame_equal(find_duplicates(images).pairs, found)
    assert sum(one_by_one) > 10_000


def test_tasks_meet_each_pair_of_cells_once():
    for n in (1, 512, 513, 5000, 70_000):
        cells = near_duplicates._cells(n)
        assert (cells[0], cells[-1]) == (0, n)
        assert np.diff(cells).max() <= 512
        met = np.zeros((len(cells) - 1, len(cells) - 1), int)
        for tasks in near_duplicates.rounds(n):
            for first, stop, other, stop_other in tasks:
                met[first:stop, other:stop_other] += 1
        assert (np.triu(met) == np.triu(np.ones_like(met))).all()


def test_shards_do_not_change_what_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(near_duplicates, "_CELL", 48)
    with Collection.from_arrays(tmp_path / "a.h5", varied(20, 1)) as one:
        expected = find_duplicates(one).pairs
        assert len(expected) > 80
        with one.shard(tmp_path / "a", rows=70) as many:
            found = find_duplicates(many).pairs
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert not list((tmp_path / "a").glob(".*"))


def test_a_folder_that_changes_meanwhile_is_named(tmp_path):
    with Collection.from_arrays(tmp_path / "a.h5", ROCKS[:20]) as one:
        one.shard(tmp_path / "a", rows=9).close()
    with pytest.raises(ValueError, match="was changed meanwhile; repeat the command"):
        duplicates._links((0, 1, 0, 1), None, None, tmp_path / "a", "", 0.9, 1.1)


def test_no_copy_is_lost_to_the_sketch_that_no_turn_changes():
    spectra = near_duplicates._spectra(ROCKS)
    a, b = (near_duplicates._invariants(half) for half in np.split(spectra, 2))
    bound = a @ b.T
    for how in [(k, m) for m in (False, True) for k in (0, 90, 180, 270)]:
        turned = near_duplicates._spectra(rotate(ROCKS[150:], *how))
        expected = near_duplicates._turn_spectra(spectra[150:], *how)
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
    compared, verify = [], near_duplicates._Verifier.verify
    for name, value in {"_CELL": 32, "_CHUNK": 64, "_PAIRS": 64, "_HELD": 200}.items():
        monkeypatch.setattr(near_duplicates, name, value)
    monkeypatch.setattr(
        duplicates._Pictures,
        "__getitem__",
        lambda self, at: read.append(len(get(self, at))) or get(self, at),
    )
    monkeypatch.setattr(
        near_duplicates._Verifier,
        "verify",
        lambda self, a, b: compared.append(len(a)) or verify(self, a, b),
    )
    found = find_duplicates(pictures._images)
    assert len(found.pairs) == len(found.groups) - found.groups.nunique() > 700
    assert sum(read) < 2400  # each once for its fingerprint, and once to compare
    assert sum(compared) < 10_000  # of 24,500 pairs that are alike
