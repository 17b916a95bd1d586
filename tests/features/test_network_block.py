"""A network as a block of RockFeatures, weighed and explained like the others."""

import joblib
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from sklearn.base import clone

from geoimages import (
    Collection,
    PairwiseModel,
    PretrainedFeatures,
    RockFeatures,
    load,
    save,
)
from geoimages.features.rock import WEIGHTS


def draw(path, seed=0):
    """Write a network of one convolution: 12 channels of 6 × 6 places."""
    weight = np.random.default_rng(seed).normal(0, 0.3, (12, 3, 3, 3))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["picture", "weight"], ["conv"], strides=[2, 2]),
            helper.make_node("Relu", ["conv"], ["relu"]),
        ],
        "drawn",
        [helper.make_tensor_value_info("picture", 1, ("n", 3, 14, 14))],
        [helper.make_tensor_value_info("relu", 1, ("n", 12, 6, 6))],
        [numpy_helper.from_array(weight.astype(np.float32), "weight")],
    )
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, ir_version=8, opset_imports=[opset])
    onnx.save_model(model, path)
    return PretrainedFeatures(str(path), pool="mean_std")


@pytest.fixture
def network(tmp_path):
    return draw(tmp_path / "drawn.onnx")


@pytest.fixture
def images(pictures):
    return pictures[0][:90]


def block(features, rows, name="network"):
    return rows[:, features.block_of_ == name]


def test_it_is_the_network_standardized(network, images):
    rock = RockFeatures(network=network).fit(images)
    assert list(rock.blocks_) == ["color", "texture", "conv", "network"]
    rows = block(rock, rock.transform(images))
    wanted = network.fit_transform(images)
    wanted = (wanted - wanted.mean(axis=0)) / wanted.std(axis=0)
    wanted[:, 12:] /= 2  # deviations count half of means
    ratio = rows / np.where(np.abs(wanted) < 0.01, np.nan, wanted)
    clipped = np.abs(rows) >= 0.99 * np.abs(rows).max(axis=0)
    np.testing.assert_allclose(
        ratio[~clipped & np.isfinite(ratio)], np.nanmedian(ratio), rtol=0.02
    )
    names = rock.get_feature_names_out()[rock.block_of_ == "network"]
    assert names.tolist() == [f"network_{i}" for i in range(24)]
    # The other blocks keep their columns.
    plain = RockFeatures().fit(images)
    rest = rock.transform(images)[:, rock.block_of_ != "network"]
    pairs = np.corrcoef(rest[:, 5], plain.transform(images)[:, 5])
    assert pairs[0, 1] == pytest.approx(1)


def test_weights_are_shares_of_the_variance(network, images):
    def variances(**options):
        rock = RockFeatures(network=network, **options).fit(images)
        rows = rock.transform(images)
        parts = {name: block(rock, rows, name) for name in set(rock.block_of_)}
        return {name: part.var(axis=0).sum() for name, part in parts.items()}, rock

    for weight in (0.5, 2.0):
        found, rock = variances(network_weight=weight)
        assert rock.weights_["network"] == weight
        share = found["network"] / found["texture"]
        assert share == pytest.approx(weight**2, rel=0.1)
    found, _ = variances(network_weight=0)
    assert sorted(found) == ["color", "conv", "texture", "tone"]
    alone, _ = variances(color=0, texture=0, conv=0, tone=0)
    assert list(alone) == ["network"]


@pytest.mark.parametrize("name", WEIGHTS)
def test_named_weights_multiply_those_given(network, images, name):
    given = {"tone": 0.5, "texture": 2.0, "network_weight": 3.0}
    rock = RockFeatures(network=network, weights=name, **given).fit(images)
    plain = RockFeatures(network=network, **given).fit(images)
    for part, weight in plain.weights_.items():
        assert rock.weights_[part] == weight * WEIGHTS[name].get(part, 1)
    given = {key: rock.weights_[key] for key in ("tone", "texture", "color", "conv")}
    same = RockFeatures(
        network=network, network_weight=rock.weights_["network"], **given
    )
    np.testing.assert_allclose(
        same.fit_transform(images), rock.transform(images), rtol=1e-5, atol=1e-6
    )


def test_its_share_of_a_distance_is_explained(network, images):
    model = PairwiseModel(5, features=RockFeatures(network=network)).fit(images)
    table = model.predict(images[3], explain=True)
    parts = ["tone", "color", "texture", "conv", "network"]
    np.testing.assert_allclose(
        table[parts].sum(axis=1), table["correlation"], atol=1e-6
    )
    assert table["network"].iloc[1:].gt(0).all()


def test_threads_and_chunks_change_nothing(network, images):
    rock = RockFeatures(network=network).fit(images)
    wanted = rock.transform(images)
    threads = clone(rock).set_params(n_jobs=2).fit(images)
    np.testing.assert_allclose(threads.transform(images), wanted, atol=1e-4)
    np.testing.assert_allclose(rock.transform(images[7:9]), wanted[7:9], atol=1e-4)
    assert clone(rock).get_params()["network__pool"] == "mean_std"


def test_the_mask_counts(network, images):
    masked = np.concatenate(
        [images, np.full((*images.shape[:3], 1), 255, "u1")], axis=3
    )
    masked[:, :14, :, 3] = 0
    rock = RockFeatures(network=network).fit(masked)
    rows = rock.transform(masked)
    masked[:, :14, :, :3] = 99
    np.testing.assert_array_equal(rock.transform(masked), rows)


def test_a_saved_model_holds_it(network, images, tmp_path):
    model = PairwiseModel(3, features=RockFeatures(network=network)).fit(images)
    save(model, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    wanted = model.predict(images[5])
    assert loaded.predict(images[5]).equals(wanted)
    draw(network.model_path, seed=1)
    with pytest.raises(ValueError, match="is not the file that was fitted"):
        load(tmp_path / "model.skops").predict(images[5])


def test_kept_rows_depend_on_what_the_file_holds(network, images, tmp_path):
    Collection.from_arrays(tmp_path / "a.h5", images).close()
    with Collection(tmp_path / "a.h5", "r+") as rocks:
        rock = RockFeatures(network=network).fit(rocks)
        rows = rock.transform(rocks)
        np.testing.assert_array_equal(clone(rock).fit(rocks).transform(rocks), rows)
        assert len(rocks.cache.files()) == 1
        draw(network.model_path, seed=1)
        other = clone(rock).fit(rocks)
        assert np.abs(other.transform(rocks) - rows).max() > 0.1
        assert len(rocks.cache.files()) == 2
    assert joblib.hash(rock) != joblib.hash(other)


def test_a_path_is_a_network(network, images):
    rows = RockFeatures(network=network.model_path, network_weight=1.5).fit_transform(
        images
    )
    same = PretrainedFeatures(network.model_path)
    wanted = RockFeatures(network=same, network_weight=1.5).fit_transform(images)
    np.testing.assert_array_equal(rows, wanted)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": "colour"}, ValueError, "weights is 'kind' or 'look', got 'col"),
        ({"weights": {"tone": 2}}, ValueError, "weights is 'kind' or 'look', got"),
        ({"network": 3}, TypeError, "network is a name or a path, .* got 3"),
        ({"network_weight": -1}, ValueError, "must be 0 or more"),
    ],
)
def test_wrong_parameters(network, images, options, error, message):
    with pytest.raises(error, match=message):
        RockFeatures(**{"network": network, **options}).fit(images)
