"""Feature transformers: any size, masks respected, nothing depends on batches."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from skimage.color import rgb2lab
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from geoimages import (
    Collection,
    ColorFeatures,
    ConvFeatures,
    FisherFeatures,
    HOGFeatures,
    PatternFeatures,
    RockFeatures,
    TextureFeatures,
    make_rocks,
)

FEATURES = [
    pytest.param(ColorFeatures(), id="color"),
    pytest.param(TextureFeatures(), id="texture"),
    pytest.param(HOGFeatures(), id="hog"),
    pytest.param(FisherFeatures(4, 8, n_patches=2000), id="fisher"),
    pytest.param(ConvFeatures(8, random_state=0), id="conv"),
    pytest.param(RockFeatures(hog=0.5, n_filters=8), id="rock"),
]


@pytest.fixture(params=FEATURES)
def features(request):
    return clone(request.param)


def masked(images, ground):
    """Cut the middle out of pictures, on a ground of one color."""
    n, h, w, _ = images.shape
    mask = np.zeros((n, h, w, 1), np.uint8)
    mask[:, 3 : h - 2, 4 : w - 3] = 255
    color = np.where(mask > 0, images, np.uint8(ground))
    return np.concatenate([color, mask], axis=3)


def changing_rocks(change, n):
    """Cut-out rocks that differ in one respect, more from each to the next."""
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    rock = rows**2 + columns**2 < 0.9
    noise = np.random.default_rng(0).standard_normal((n, 96, 96))
    images = np.zeros((n, 96, 96, 4), np.uint8)
    images[..., 3] = 255 * rock
    for i, grain in enumerate(noise):
        t = i / (n - 1)
        grain = gaussian_filter(grain, 0.5 * 6**t if change == "grain" else 1)
        tone = 120 + 20 * (grain - grain[rock].mean()) / grain[rock].std()
        tone += 60 * (t - 0.5) if change == "lightness" else 0
        tone += 60 * t * np.sin(30 * rows) if change == "banding" else 0
        warm = 60 * (t - 0.5) if change == "hue" else 0
        color = np.stack([tone + warm, tone, tone - warm], axis=2)
        images[i, ..., :3] = color.clip(0, 255)
    return images


def test_rows_floats_and_pictures_give_the_same(features, pictures):
    images = pictures[0][:70]
    wanted = features.fit(images).transform(images)
    assert wanted.dtype == np.float32
    assert wanted.shape == (70, len(features.get_feature_names_out()))
    assert np.isfinite(wanted).all()
    for X in (images.reshape(70, -1), images / np.float32(255), images / 255):
        np.testing.assert_allclose(features.transform(X), wanted, atol=0.06)
        np.testing.assert_allclose(
            clone(features).fit(X).transform(X), wanted, atol=0.1
        )


def test_the_color_of_the_ground_moves_nothing(features, pictures):
    images = pictures[0][:30]
    features.fit(masked(images, 255))
    a, b = (features.transform(masked(images, ground)) for ground in (0, 200))
    np.testing.assert_array_equal(a, b)


def test_a_mask_that_hides_nothing_changes_nothing(features, pictures):
    images = pictures[0][:20]
    opaque = np.concatenate([images, np.full((20, 28, 28, 1), 255, np.uint8)], axis=3)
    some = opaque.copy()
    some[0, :9, :, 3] = 0
    features.fit(opaque)
    wanted = features.transform(opaque)
    # One masked picture sends its whole chunk the masked way.
    np.testing.assert_allclose(features.transform(some)[1:], wanted[1:], atol=2e-3)
    assert np.abs(features.transform(some)[0] - wanted[0]).max() > 1e-2


def test_columns_do_not_depend_on_the_size(features):
    names = None
    for shape in ((28, 28, 3), (9, 40, 3), (3, 3, 3), (150, 260, 3)):
        images = np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8)
        out = clone(features).fit_transform(images)
        assert np.isfinite(out).all()
        names = out.shape[1] if names is None else names
        assert out.shape[1] == names


def test_grey_lines_and_pictures_are_described(features):
    lines = np.random.default_rng(0).random((12, 30)).astype(np.float32)
    assert np.isfinite(features.fit_transform(lines[:, :29])).all()
    grey = lines.reshape(12, 5, 6, 1)
    assert np.isfinite(clone(features).fit_transform(grey)).all()


def test_flat_black_and_white_pictures_are_described(features, pictures):
    images = pictures[0][:12].copy()
    images[0], images[1], images[2] = 0, 255, 128
    assert np.isfinite(features.fit_transform(images)).all()


def test_neither_chunks_nor_threads_change_the_result(features, pictures):
    images = pictures[0]  # of two chunks
    wanted = features.fit(images).transform(images)
    threads = clone(features).set_params(n_jobs=2).fit(images).transform(images)
    np.testing.assert_array_equal(threads, wanted)
    for part in (slice(5, 6), slice(7, 90)):
        np.testing.assert_allclose(
            features.transform(images[part]), wanted[part], atol=1e-3
        )


def test_frames_and_pipelines(features, pictures):
    images, labels = pictures
    frame = features.set_output(transform="pandas").fit_transform(images)
    assert list(frame.columns) == list(features.get_feature_names_out())
    assert len(set(frame.columns)) == frame.shape[1]
    model = make_pipeline(clone(features).set_output(transform="default"), SVC())
    assert (
        model.fit(images.reshape(120, -1), labels).score(
            images.reshape(120, -1), labels
        )
        > 0.5
    )


def test_a_collection_is_streamed_and_cached(features, pictures, tmp_path):
    images, labels = pictures
    path = tmp_path / "a.h5"
    Collection.from_arrays(path, images, labels).close()
    with Collection(path, "r+") as rocks:
        out = features.fit(rocks).transform(rocks)
        np.testing.assert_allclose(out, features.transform(images), atol=1e-3)
        assert len(rocks.cache.files()) == 1
        np.testing.assert_array_equal(features.transform(rocks), out)


def test_a_frame_of_a_collection_keeps_the_keys(rocks):
    color = ColorFeatures().fit(rocks)
    plain = color.transform(rocks)
    frame = color.set_output(transform="pandas").transform(rocks)
    assert frame.index.tolist() == rocks.keys.tolist()
    assert frame.columns.tolist() == color.get_feature_names_out().tolist()
    np.testing.assert_array_equal(frame, plain)
    with config_context(transform_output="pandas"):
        assert clone(ColorFeatures()).fit_transform(rocks).index[3] == rocks.keys[3]


def test_an_empty_mask_is_named(features, pictures):
    rgba = masked(pictures[0][:4], 0)
    features.fit(rgba)
    rgba[2, ..., 3] = 0
    with pytest.raises(ValueError, match="mask of picture 2 is empty"):
        features.transform(rgba)


def test_another_shape_is_named(features, pictures):
    features.fit(pictures[0][:12])
    with pytest.raises(ValueError, match="27 × 28 × 3, expected 28 × 28 × 3"):
        features.transform(np.zeros((1, 27, 28, 3), np.uint8))


def test_a_working_side_too_small_is_named(features, pictures):
    with pytest.raises(ValueError, match="working_side must be 20 px or more"):
        features.set_params(working_side=8).fit(pictures[0])


def test_large_pictures_look_like_themselves_made_small():
    large, _ = make_rocks(24, image_shape=(256, 256, 3), random_state=0)
    half = large.reshape(24, 128, 2, 128, 2, 3).mean(axis=(2, 4))
    color = ColorFeatures().fit(large)
    other = ColorFeatures().fit(half / 255)
    # Rounding moves single pixels between the bins of histograms.
    np.testing.assert_allclose(
        color.transform(large), other.transform(half / 255), atol=5e-3
    )


@pytest.mark.parametrize("turn", ["quarter", "mirror"])
def test_texture_is_rotation_invariant(pictures, turn):
    images = pictures[0][:40]
    other = images[:, :, ::-1] if turn == "mirror" else np.rot90(images, axes=(1, 2))
    texture = TextureFeatures().fit(images)
    np.testing.assert_allclose(
        texture.transform(other), texture.transform(images), atol=1e-3
    )


def test_a_change_of_light_shifts_the_logarithms(pictures):
    images = np.clip(pictures[0][:30], 60, 180) / 255
    color = ColorFeatures().fit(images)
    names = color.get_feature_names_out()
    logs = [i for i, name in enumerate(names) if name.startswith("quantile_log_rgb")]
    shift = color.transform(images * 1.3)[:, logs] - color.transform(images)[:, logs]
    np.testing.assert_allclose(shift, np.log(1.3), atol=0.03)


def test_logarithms_of_the_dark_are_those_of_four_levels():
    black = ColorFeatures().fit_transform(np.zeros((1, 28, 28, 3), np.uint8))
    names = ColorFeatures().fit(np.zeros((1, 28, 28, 3))).get_feature_names_out()
    logs = [name.startswith("quantile_log_rgb") for name in names]
    np.testing.assert_allclose(black[0, logs], np.log(4), rtol=1e-6)


class TestConvFeatures:
    def test_filters_are_seeded_and_learned(self, pictures):
        images = pictures[0]
        a, b, c = (
            ConvFeatures(8, random_state=seed).fit(images).filters_
            for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
        assert a.shape == (8, 6, 6, 3)
        # Folded filters see no brightness.
        np.testing.assert_allclose(a.reshape(8, -1).sum(axis=1), 0, atol=1e-4)

    def test_filters_come_from_the_rock_only(self, pictures):
        images = pictures[0][:40]
        a, b = (
            ConvFeatures(8, random_state=0).fit(masked(images, ground)).filters_
            for ground in (0, 250)
        )
        np.testing.assert_array_equal(a, b)

    def test_more_filters_than_patches(self):
        images = np.random.default_rng(0).integers(0, 256, (1, 6, 6, 3), dtype=np.uint8)
        conv = ConvFeatures(5000, patch_size=20, random_state=0)
        assert len(conv.fit(images).filters_) <= 5000

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"patch_size": 1}, "patch_size must be 2 to 20 px"),
            ({"n_filters": 0}, "n_filters and stride must be 1 or more"),
            ({"stride": 0}, "n_filters and stride must be 1 or more"),
        ],
    )
    def test_impossible_settings(self, pictures, change, message):
        with pytest.raises(ValueError, match=message):
            ConvFeatures().set_params(**change).fit(pictures[0])


def test_impossible_cells(pictures):
    for change in ({"cells": 0}, {"cells": 99}, {"bins": 1}):
        with pytest.raises(ValueError, match="cells must be 1 to 10"):
            HOGFeatures(**change).fit(pictures[0])


class TestRockFeatures:
    def test_blocks_contribute_equally(self, pictures):
        images = pictures[0]
        rock = RockFeatures(1, 1, 1, 1, n_filters=8).fit(images)
        rows = rock.transform(images)
        say = [
            rows[:, rock.block_of_ == block].var(axis=0).sum()
            for block in ("tone", "color", "texture", "hog", "conv")
        ]
        # Cutting off at 5 deviations takes a little from each.
        assert max(say) < 1.25 * min(say)

    def test_constant_columns_contribute_nothing(self, pictures):
        grey = pictures[0].mean(axis=3, keepdims=True).astype(np.uint8)
        rock = RockFeatures(1, 1, 0, 1, n_filters=8).fit(grey)
        rows = rock.transform(grey)
        still = rows.std(axis=0) < 1e-3 * rock.scale_
        assert still[rock.block_of_ == "color"].mean() > 0.3
        say = [
            rows[:, rock.block_of_ == block].var(axis=0).sum()
            for block in ("tone", "color", "texture", "conv")
        ]
        assert max(say) < 1.25 * min(say)

    def test_tone_is_in_cielab_units(self):
        levels = np.arange(40, 200, 8)
        flat = np.repeat(levels, 28 * 28 * 3).reshape(-1, 28, 28, 3).astype(np.uint8)
        warm = flat + np.array([6, 0, 0], np.uint8)
        rows = RockFeatures(0, 0, 0, 0).fit_transform(np.concatenate([flat, warm]))
        lab = rgb2lab(np.concatenate([flat, warm])[:, 0, 0] / 255)
        np.testing.assert_allclose(
            pdist(rows) / pdist(lab), pdist(rows)[0] / pdist(lab)[0], rtol=0.01
        )

    def test_pictures_of_one_tone_are_not_pulled_apart(self):
        grey = np.array([100, 103]).repeat(28 * 28 * 3).reshape(2, 28, 28, 3)
        rows = RockFeatures(0, 0, 0, 0).fit_transform(grey.astype(np.uint8))
        lightness = rgb2lab(grey[:, 0, 0] / 255)[:, 0]
        # Nine columns vary; less than 5 units of L* at each are divided by 5.
        assert pdist(rows)[0] == pytest.approx(9 * np.ptp(lightness) / 15, rel=1e-3)

    def test_values_are_clipped_to_five_deviations(self, pictures):
        rock = RockFeatures(tone=0, n_filters=8).fit(pictures[0])
        rows = rock.transform(np.zeros((1, 28, 28, 3), np.uint8)) / rock.scale_
        assert np.abs(rows).max() == pytest.approx(5)

    @pytest.mark.parametrize("change", ["lightness", "hue", "grain", "banding"])
    def test_more_of_a_change_is_a_larger_distance(self, change):
        rows = RockFeatures(n_filters=16).fit_transform(changing_rocks(change, 8))
        for end in (0, 7):
            distance = np.linalg.norm(rows - rows[end], axis=1)
            assert spearmanr(distance, np.abs(np.arange(8) - end))[0] > 0.8

    def test_weights_scale_their_block_and_0_drops_it(self, pictures):
        images = pictures[0]
        rock = RockFeatures(texture=2, tone=0, n_filters=8).fit(images)
        rows = rock.transform(images)
        assert list(rock.blocks_) == ["color", "texture", "conv"]
        say = {
            block: rows[:, rock.block_of_ == block].var(axis=0).sum()
            for block in ("color", "texture")
        }
        assert say["texture"] / say["color"] == pytest.approx(4, rel=0.15)
        alone = RockFeatures(color=0, conv=0, tone=0).fit(images)
        assert set(alone.block_of_) == {"texture"}
        names = alone.get_feature_names_out()
        assert all(name.startswith("texture") for name in names)

    def test_impossible_weights(self, pictures):
        nothing = {"color": 0, "texture": 0, "conv": 0, "tone": 0}
        for change in ({"color": -1}, {"tone": -1}, nothing):
            with pytest.raises(ValueError, match="weights of the blocks"):
                RockFeatures(**change).fit(pictures[0])


@pytest.mark.parametrize("side", [28, 96])
def test_a_row_does_not_depend_on_its_batch(side):
    images, _ = make_rocks(12, image_shape=(side, side, 3), random_state=0)
    rock = RockFeatures(hog=1).fit(images)
    alone = np.concatenate([rock.transform(images[i : i + 1]) for i in range(12)])
    np.testing.assert_array_equal(rock.transform(images), alone)


@pytest.mark.parametrize(
    "features", [RockFeatures(fisher=1), PatternFeatures()], ids=["rock", "pattern"]
)
def test_the_order_of_rows_changes_nothing(features, pictures):
    images = pictures[0][:40]
    shuffled = images[np.random.default_rng(0).permutation(40)]
    wanted = clone(features).fit(images).transform(images[:9])
    found = clone(features).fit(shuffled).transform(images[:9])
    np.testing.assert_array_equal(found, wanted)
