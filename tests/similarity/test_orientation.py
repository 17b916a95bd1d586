"""Orientation, the second stage and the explanation in the similarity models."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler

from geoimages import (
    Collection,
    ColorFeatures,
    KMeansModel,
    PairwiseModel,
    PatternFeatures,
    RockFeatures,
    TextureFeatures,
)
from geoimages.pictures.orientation import check_orientation, rotate

EXPLAINED = ["correlation", "cosine", "cityblock", "sqeuclidean"]


@pytest.fixture(scope="module")
def images(pictures):
    return pictures[0][:60]


@pytest.fixture(scope="module")
def pictures():
    from geoimages import make_rocks

    return make_rocks(60, random_state=3)


def as_frame(images, keys=None):
    keys = [f"rock.{i:03d}" for i in range(len(images))] if keys is None else keys
    return pd.DataFrame(images.reshape(len(images), -1), index=keys)


@pytest.mark.parametrize("metric", ["correlation", "euclidean", "cityblock"])
@pytest.mark.parametrize("orientation", ["rotations", "any"])
def test_the_ranking_is_that_of_stored_copies(images, metric, orientation):
    turns = check_orientation(orientation)
    copies = np.concatenate([rotate(images, *each) for each in turns])
    keys = [f"rock.{i:03d}" for i in range(len(images))]
    copy_keys = [f"{key}/{place}" for place in range(len(turns)) for key in keys]
    stored = PairwiseModel(len(copies), metric).fit(as_frame(copies, copy_keys))
    model = PairwiseModel(25, metric, orientation=orientation).fit(as_frame(images))
    for i in (0, 17, 41):
        candidate = np.rot90(images[i][:, ::-1])
        found = model.predict(candidate)
        every = stored.predict(candidate)[metric]
        best = every.groupby([key.split("/")[0] for key in every.index]).min()
        best = best.sort_values(kind="stable")[:25]
        assert found.index.tolist() == best.index.tolist()
        np.testing.assert_allclose(found[metric], best, atol=1e-12)


def test_the_columns_say_which_turn_won(images):
    model = PairwiseModel(3, orientation="any").fit(images)
    for degrees, mirrored in check_orientation("any"):
        changed = rotate(images[7:8], degrees, mirrored)[0]
        best = model.predict(changed).iloc[0]
        assert best.name == 7
        assert best["correlation"] == pytest.approx(0, abs=1e-12)
        again = rotate(changed[None], int(best["orientation"]), best["mirrored"])[0]
        np.testing.assert_array_equal(again, images[7])
    assert "orientation" not in model.predict(images[7], orientation="fixed")


def test_quarter_turns_are_not_found_upright(images):
    model = PairwiseModel(1).fit(images)
    turned = np.rot90(images, axes=(1, 2))
    upright = model.predict(turned).index.get_level_values("key")
    rotated = model.predict(turned, orientation="rotations")
    rotated = rotated.index.get_level_values("key")
    assert (rotated == np.arange(60)).all()
    assert (upright == np.arange(60)).mean() < 0.9


def test_a_mirror_image_needs_any(images):
    model = PairwiseModel(1, orientation="any").fit(images)
    assert model.predict(images[5][:, ::-1]).iloc[0]["mirrored"]
    rotations = model.predict(images[5][:, ::-1], orientation="rotations")
    assert not rotations["mirrored"].any()
    assert rotations["correlation"].iloc[0] > 0


def test_pictures_that_are_not_square_turn_by_half(images):
    narrow = images[:, :, :20]
    model = PairwiseModel(2, orientation="any").fit(narrow)
    found = model.predict(narrow[4, ::-1])
    assert found.index[0] == 4
    assert found["orientation"].iloc[0] == 180
    assert found["mirrored"].iloc[0]


@pytest.mark.parametrize("kind", [PairwiseModel, KMeansModel])
def test_a_key_and_its_pixels_give_the_same(images, kind, tmp_path):
    features = ColorFeatures()
    model = kind(k_candidates=4, features=features, orientation="any")
    if kind is KMeansModel:
        model.set_params(random_state=0)
    frame = as_frame(images)
    by_key = model.fit(frame).predict("rock.009", exclude=None)
    by_pixels = model.predict(images[9])
    pd.testing.assert_frame_equal(by_key, by_pixels)
    rocks = Collection.from_arrays(tmp_path / "rocks.h5", images, keys=frame.index)
    pd.testing.assert_frame_equal(
        model.fit(rocks).predict("rock.009", exclude=None), by_key
    )


def test_kmeans_searches_the_clusters_of_every_turn(images):
    model = KMeansModel(6, 1, orientation="rotations", random_state=0).fit(images)
    turned = np.rot90(images, k=3, axes=(1, 2))
    found = model.predict(turned).index.get_level_values("key")
    assert (found == np.arange(60)).all()


def test_kneighbors_and_score_turn_too(images):
    model = PairwiseModel(1, orientation="rotations").fit(images, np.arange(60))
    turned = np.rot90(images, axes=(1, 2))
    distances, positions = model.kneighbors(turned, 1)
    np.testing.assert_allclose(distances, 0, atol=1e-12)
    np.testing.assert_array_equal(positions[:, 0], np.arange(60))
    assert model.score(turned, np.arange(60)) == 1


@pytest.mark.parametrize("metric", EXPLAINED)
def test_shares_add_up_to_the_distance(images, metric):
    model = PairwiseModel(10, metric, features=RockFeatures()).fit(images)
    table = model.predict(images[:3], explain=True)
    assert list(table.columns[2:]) == ["color", "texture", "conv", "tone"]
    np.testing.assert_allclose(
        table[["color", "texture", "conv", "tone"]].sum(axis=1),
        table[metric],
        atol=1e-6,
    )
    assert (table[["color", "texture", "conv", "tone"]] >= 0).all(axis=None)
    plain = model.predict(images[:3])
    pd.testing.assert_frame_equal(table[plain.columns], plain)


def test_shares_tell_color_from_texture(images):
    model = PairwiseModel(1, features=RockFeatures(conv=0, tone=0)).fit(images)
    painted = images[8][..., ::-1]  # red and blue change places
    share = model.predict(painted, 60, explain=True).loc[8]
    assert share["color"] > 2 * share["texture"]


def test_the_turn_that_won_is_explained(images):
    features = RockFeatures(color=0, texture=0, hog=1, conv=1, tone=0)
    model = PairwiseModel(5, "cityblock", features=features, orientation="any")
    table = model.fit(images).predict(np.rot90(images[:4], axes=(1, 2)), explain=True)
    shares = table[["hog", "conv"]].sum(axis=1)
    np.testing.assert_allclose(shares, table["cityblock"], rtol=1e-6)


def test_any_features_in_blocks_are_explained(images):
    union = FeatureUnion([("paint", ColorFeatures()), ("grain", TextureFeatures())])
    table = (
        PairwiseModel(4, features=union).fit(images).predict(images[0], explain=True)
    )
    assert list(table.columns[2:]) == ["paint", "grain"]
    assert table.iloc[0].tolist() == pytest.approx([0, 1, 0, 0], abs=1e-9)


@pytest.mark.parametrize("orientation", ["fixed", "rotations", "any"])
def test_a_lone_family_leaves_nothing_to_verify(images, orientation):
    model = PairwiseModel(features=PatternFeatures(), orientation=orientation)
    model.fit(pd.DataFrame(images[:1].reshape(1, -1), index=["a"]))
    table = model.predict("a", explain=True)
    assert len(table) == len(model.neighbors_table(3)) == 0
    assert list(table.columns[:3]) == ["verification", "similarity", "correlation"]


def test_a_picture_is_explained_as_its_key_is(images):
    # Such features are 0 or 1, which the search keeps as uint8.
    union = FeatureUnion([("dark", Binarizer(threshold=0.3)), ("light", Binarizer())])
    for metric in ("cityblock", "sqeuclidean"):
        model = PairwiseModel(4, metric, features=union).fit(images)
        model.keys_ = np.array([f"{i:02d}" for i in range(len(images))])
        by_key = model.predict("03", explain=True, exclude=None)
        pd.testing.assert_frame_equal(model.predict(images[3], explain=True), by_key)


def test_constant_rows_have_shares_too():
    class Flat(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.block_of_ = np.array(["a", "b"])
            return self

        def transform(self, X):
            return np.column_stack([X[:, 0] > 0.5, X[:, 0] > 0.5]).astype(float)

    rows = np.array([[0, 1, 1], [255, 1, 1]], np.uint8)
    table = PairwiseModel(2, features=Flat()).fit(rows).predict(rows[0], explain=True)
    assert table["correlation"].tolist() == [0, 1]
    assert table["a"].tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (PairwiseModel(), "compares pixels; set features=RockFeatures"),
        (
            PairwiseModel(features=RockFeatures(), dist_metric="euclidean"),
            "not a sum over",
        ),
        (PairwiseModel(features=StandardScaler()), "needs features in blocks"),
    ],
)
def test_what_cannot_be_explained(images, model, says):
    with pytest.raises(ValueError, match=says):
        model.fit(images).predict(images[0], explain=True)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"orientation": "turned"}, "expected 'fixed', 'rot"),
        ({"rerank": True}, "'auto'"),
    ],
)
def test_unknown_options(images, option, says):
    with pytest.raises(ValueError, match=says):
        PairwiseModel(**option).fit(images)


class Verifying(TransformerMixin, BaseEstimator):
    """Describes nothing but the mean color, and verifies by the upper left pixel."""

    shortlist = 12
    rotation_invariant = True

    takes_pictures = True

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X.mean(axis=(1, 2)) / 255

    def thumbnails(self, images):
        return images[:, :1, :1].astype(float)

    def verify(self, candidate, shortlist, orientation):
        distance = np.abs(shortlist - candidate).mean(axis=(1, 2, 3)) / 255
        degrees = 30.0 if orientation == "any" else 0.0
        return distance, np.full(len(shortlist), degrees), distance < 0


class TestRerank:
    def test_the_short_list_is_ordered_by_verification(self, images):
        model = PairwiseModel(5, "euclidean", features=Verifying()).fit(images)
        plain = PairwiseModel(12, "euclidean", features=Verifying(), rerank=None)
        shortlist = plain.fit(images).predict(images[:6])
        table = model.predict(images[:6])
        assert list(table.columns) == ["verification", "similarity", "euclidean"]
        for query, group in table.groupby(level="query"):
            keys = shortlist.loc[query].index
            pixel = images[keys, 0, 0].astype(float) - images[query, 0, 0]
            distance = np.abs(pixel).mean(axis=1) / 255
            np.testing.assert_allclose(group["verification"], np.sort(distance)[:5])
            known = shortlist.loc[query].loc[group.loc[query].index, "euclidean"]
            np.testing.assert_array_equal(group["euclidean"], known)
        np.testing.assert_array_equal(table["similarity"], 1 - table["verification"])

    def test_the_turn_is_the_verified_one(self, images):
        model = PairwiseModel(5, features=Verifying(), orientation="any").fit(images)
        assert set(model.predict(images[3])["orientation"]) == {30.0}

    def test_more_than_the_short_list_is_verified(self, images):
        model = PairwiseModel(40, features=Verifying()).fit(images)
        table = model.predict(images[3])
        assert len(table) == 40
        assert table["verification"].is_monotonic_increasing

    def test_ties_are_ordered_by_key(self, images):
        class Undecided(Verifying):
            def verify(self, candidate, shortlist, orientation):
                return np.zeros(len(shortlist)), np.zeros(len(shortlist)), None

        frame = as_frame(images[::-1]).set_axis([f"rock.{i:03}" for i in range(60)])
        shortlist = PairwiseModel(12, features=Verifying(), rerank=None).fit(frame)
        keys = shortlist.predict(images[3]).index
        assert list(keys) != sorted(keys)
        table = PairwiseModel(5, features=Undecided()).fit(frame).predict(images[3])
        assert list(table.index) == sorted(keys)[:5]

    def test_a_key_gives_what_its_pixels_give(self, images):
        model = PairwiseModel(5, features=Verifying()).fit(as_frame(images))
        pd.testing.assert_frame_equal(
            model.predict("rock.004", exclude=None), model.predict(images[4])
        )
        assert "rock.004" not in model.predict("rock.004").index

    def test_kneighbors_gives_the_verified_distance(self, images):
        model = PairwiseModel(5, features=Verifying()).fit(images)
        distances, positions = model.kneighbors(images[:4])
        table = model.predict(images[:4])
        np.testing.assert_array_equal(distances.ravel(), table["verification"])
        keys = table.index.get_level_values("key")
        np.testing.assert_array_equal(positions.ravel(), keys)


class TestNeighborsTable:
    def test_every_picture_is_a_query(self, images):
        frame = as_frame(images)
        model = PairwiseModel(4).fit(frame)
        table = model.neighbors_table()
        assert len(table) == 4 * 60
        pd.testing.assert_frame_equal(table, model.predict(list(frame.index)))

    def test_blocks_are_the_whole(self, images, monkeypatch):
        monkeypatch.setattr("geoimages.similarity.base._BLOCK_QUERIES", 7)
        model = PairwiseModel(4).fit(images)
        blocks = list(model.neighbors_blocks(3))
        assert len(blocks) == 9
        pd.testing.assert_frame_equal(pd.concat(blocks), model.neighbors_table(3))


def test_a_pipeline_takes_the_shape_of_masked_pictures(images):
    masked = np.concatenate([images, np.full((60, 28, 28, 1), 255, np.uint8)], axis=3)
    pipeline = make_pipeline(ColorFeatures(), StandardScaler())
    model = PairwiseModel(2, features=pipeline).fit(masked)
    assert model.predict(masked[3]).index[0] == 3
    frozen = PairwiseModel(2, features=FrozenEstimator(model.features_)).fit(masked)
    pd.testing.assert_frame_equal(frozen.predict(masked[3]), model.predict(masked[3]))
