"""Overlapping tiles described together: the same numbers as one by one."""

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone

from geoimages import (
    Collection,
    ColorFeatures,
    ConvFeatures,
    FisherFeatures,
    HOGFeatures,
    PatternFeatures,
    RockFeatures,
)
from geoimages.collection.overlap import _assembled, shared_features
from geoimages.pictures.ground import find_rock

CONV = ConvFeatures(6, n_patches=2000, random_state=0)
FISHER = FisherFeatures(4, n_dimensions=12, n_patches=2000)
BLOCKS = RockFeatures(color=0, texture=0, tone=0, hog=1, conv=1, n_filters=6)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Tiles of 48 px, every 12 px, of a grainy photograph and of half of it."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    photo = sum(
        np.asarray(
            Image.fromarray(
                rng.normal(0, 20, (174 // s, 233 // s)).astype("f4")
            ).resize((233, 174), 3)
        )
        for s in (1, 3, 9)
    )
    photo = np.clip(photo[..., None] + (130, 120, 100), 0, 255).astype(np.uint8)
    Image.fromarray(photo).save(folder / "a.png")
    made = Collection.from_tiles(
        folder / "t.h5", folder / "a.png", size=48, stride=0.25, keep_all=True
    )
    with made as tiles:
        yield tiles


@pytest.mark.parametrize(
    "features",
    [
        CONV,
        ConvFeatures(6, stride=3, n_patches=2000, random_state=0, working_side=24),
        FISHER,
        HOGFeatures(),
        HOGFeatures(cells=3, bins=5),
        BLOCKS,
    ],
    ids=repr,
)
def test_shared_features_are_those_of_single_tiles(tiles, features, monkeypatch):
    kind, together = type(features), []
    describe = kind.describe_tiles

    def counted(self, image, corners, side):
        together.append(len(corners))
        return describe(self, image, corners, side)

    monkeypatch.setattr(kind, "describe_tiles", counted)
    features.fit(tiles)
    found = features.transform(tiles)
    # The last of each row and column end at the edge of the photograph.
    assert sum(together) > 0.7 * len(tiles)
    alone = features.transform(tiles[:])
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5)


def test_tiles_with_white_ground_stand_alone(tmp_path):
    photo = np.random.default_rng(0).integers(0, 200, (240, 240, 3), np.uint8)
    photo[:90], photo[:, :20] = 255, 255
    Image.fromarray(photo).save(tmp_path / "a.png")
    made = Collection.from_tiles(
        tmp_path / "t.h5", tmp_path / "a.png", size=80, stride=0.25, keep_all=True
    )
    with made as tiles:
        features = clone(CONV).fit(tiles)
        alone = features.transform(tiles[:])
        assert find_rock(tiles[:]) is not None
        np.testing.assert_allclose(
            shared_features(tiles, features), alone, rtol=1e-5, atol=1e-5
        )


def test_sharing_is_what_models_fit(tiles, monkeypatch):
    from geoimages import PairwiseModel

    monkeypatch.setattr(ConvFeatures, "describe_tiles", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        PairwiseModel(features=CONV).fit(tiles)


@pytest.mark.parametrize(
    ("features", "side", "step"),
    [
        (CONV, 96, 2),
        (CONV, 128, 2),
        (CONV, 256, 4),
        (CONV, 200, None),  # averaged down by no whole factor
        (CONV, 16, None),  # enlarged
        (FISHER, 96, 12),
        (HOGFeatures(), 96, 1),
        (ColorFeatures(), 96, None),  # quantiles are no sums
        (PatternFeatures(), 96, None),
        (RockFeatures(), 96, None),
    ],
)
def test_features_say_what_they_share(features, side, step):
    assert features.tile_step(side) == step


def test_a_tile_unlike_its_neighbors_stands_alone():
    image = np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8)
    corners = np.array([[0, 0], [0, 10], [10, 10]])
    tiles = np.stack([image[y : y + 20, x : x + 20] for y, x in corners])
    tiles[0, 0, 0] += 1
    tiles[1, 15, 2] += (
        1  # on the first tile, too, and the third shows the pixel as it is
    )
    whole, same = _assembled(tiles, corners, 20)
    assert same.tolist() == [False, False, True] or same.tolist()[2]
    for tile, (y, x), alike in zip(tiles, corners, same, strict=True):
        assert alike == np.array_equal(whole[y : y + 20, x : x + 20], tile)
    assert not same.all()
