"""PretrainedFeatures: a layer of a network in an ONNX file, drawn here or brought."""

import importlib.util
import pickle
import sys
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
import skops.io
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from geoimages import (
    Collection,
    ConvNetClassifier,
    MLPEmbedding,
    PairwiseModel,
    PretrainedFeatures,
    RockFeatures,
    load,
    save,
)
from geoimages.features import pretrained

PLAIN = {"scale": 1, "mean": 0, "std": 1}
BGR = {**PLAIN, "channels": "BGR"}


def write(path, nodes, weights, shape, outputs, dtype=np.float32, **options):
    """Write a network of nodes to a file."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("picture", kind, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]
    )
    onnx.save_model(model, path, **options)
    return path


def identity(path, shape=("n", 3, 6, 5), dtype=np.float32):
    """A network whose layer "flat" is the picture as the network gets it."""
    nodes = [
        helper.make_node("Identity", ["picture"], ["same"]),
        helper.make_node("Flatten", ["same"], ["flat"]),
    ]
    return write(path, nodes, {}, shape, ["flat"], dtype)


def small(path, side=8, batch="n", dtype=np.float32, seed=0, **options):
    """Two convolutions, the mean of 6 channels, and a layer of 4 classes."""
    rng = np.random.default_rng(seed)

    def random(*shape):
        return rng.normal(0, 0.3, shape).astype(dtype)

    weights = {
        "conv1.weight": random(5, 3, 3, 3),
        "conv2.weight": random(6, 5, 3, 3),
        "fc.weight": random(6, 4),
        "fc.bias": random(4),
    }
    nodes = [
        helper.make_node("Conv", ["picture", "conv1.weight"], ["conv1"], "/conv1/Conv"),
        helper.make_node("Relu", ["conv1"], ["relu1"], "/relu1/Relu"),
        helper.make_node("Conv", ["relu1", "conv2.weight"], ["conv2"], "/conv2/Conv"),
        helper.make_node("GlobalAveragePool", ["conv2"], ["pooled"], "/avgpool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "/Flatten"),
        helper.make_node("Gemm", ["features", "fc.weight", "fc.bias"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1),
        helper.make_node("Relu", ["fc.bias"], ["apart"], "/apart"),
    ]
    return write(
        path, nodes, weights, (batch, 3, side, side), ["logits"], dtype, **options
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return small(tmp_path_factory.mktemp("networks") / "small.onnx")


def images_of(n=7, height=8, width=8, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)


# ---- layers


def test_layers_are_listed_before_fit(network):
    table = PretrainedFeatures(network).layers()
    assert table.index.tolist() == [
        *("conv1", "relu1", "conv2", "pooled", "features", "logits", "best")
    ]
    assert table.loc["relu1"].tolist() == [
        *("/relu1/Relu", "Relu", "float", (None, 5, 6, 6), 5)
    ]
    assert table.loc["best", "dtype"] == "int64"
    assert table["n_features"].tolist() == [5, 5, 6, 6, 6, 4, 1]


def test_any_layer_is_what_the_formula_says(network):
    images = images_of()
    model = PretrainedFeatures(network, preset=BGR).fit(images)
    weights = {
        t.name: numpy_helper.to_array(t) for t in onnx.load(network).graph.initializer
    }
    picture = images[..., ::-1].transpose(0, 3, 1, 2).astype(np.float64)

    def convolve(values, kernel):
        windows = np.lib.stride_tricks.sliding_window_view(values, (3, 3), (2, 3))
        return np.einsum("nchwij,kcij->nkhw", windows, kernel)

    relu1 = np.maximum(convolve(picture, weights["conv1.weight"]), 0)
    features = convolve(relu1, weights["conv2.weight"]).mean(axis=(2, 3))
    logits = features @ weights["fc.weight"] + weights["fc.bias"]
    close = {"rtol": 1e-4, "atol": 1e-3}
    assert model.layer_ == "logits"
    np.testing.assert_allclose(model.transform(images), logits, **close)
    for layer, wanted in {
        "relu1": relu1.mean(axis=(2, 3)),
        "/relu1/Relu": relu1.mean(axis=(2, 3)),
        "pooled": features,
        "penultimate": features,
    }.items():
        model = PretrainedFeatures(network, layer, BGR).fit(images)
        out = model.transform(images)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, wanted, **close)
        assert model.get_feature_names_out().tolist() == [
            f"pretrained_{i}" for i in range(wanted.shape[1])
        ]
    model = PretrainedFeatures(network, "relu1", BGR, pool="max").fit(images)
    np.testing.assert_allclose(model.transform(images), relu1.max(axis=(2, 3)), **close)


def test_several_layers_lie_side_by_side(network):
    images = images_of()
    names = ["relu1", "/conv2/Conv", "logits"]
    model = PretrainedFeatures(network, names, BGR).fit(images)
    assert model.layer_ == ("relu1", "conv2", "logits")
    parts = [PretrainedFeatures(network, name, BGR) for name in names]
    wanted = np.hstack([part.fit_transform(images) for part in parts])
    np.testing.assert_allclose(model.transform(images), wanted, rtol=1e-5)
    rule = {**BGR, "layer": tuple(names)}
    again = PretrainedFeatures(network, preset=rule).fit_transform(images)
    np.testing.assert_allclose(again, wanted, rtol=1e-5)


def test_means_and_deviations_over_the_rock(network):
    images = images_of(5, channels=4)
    images[..., 3] = 255
    layers = ["relu1", "logits"]
    model = PretrainedFeatures(network, layers, BGR, pool="mean_std").fit(images)
    out = model.transform(images)
    names = model.get_feature_names_out()
    assert names[[0, 4, 5, 9, 10, 13]].tolist() == [
        *("pretrained_mean_0", "pretrained_mean_4", "pretrained_std_5"),
        *("pretrained_std_9", "pretrained_10", "pretrained_13"),
    ]
    weights = {
        t.name: numpy_helper.to_array(t) for t in onnx.load(network).graph.initializer
    }

    def relu1(pictures):
        x = pictures[..., ::-1].transpose(0, 3, 1, 2).astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
        kernel = weights["conv1.weight"]
        return np.maximum(np.einsum("nchwij,kcij->nkhw", windows, kernel), 0)

    values = relu1(images[..., :3])
    close = {"rtol": 1e-4, "atol": 1e-3}
    np.testing.assert_allclose(out[:, :5], values.mean(axis=(2, 3)), **close)
    np.testing.assert_allclose(out[:, 5:10], values.std(axis=(2, 3)), **close)
    # Rock in the left half only: of the 6 × 6 places of the layer the left three columns.
    images[:, :, 4:, 3] = 0
    filled = images[..., :3].copy()
    for picture, rock in zip(filled, images, strict=True):
        picture[:, 4:] = np.rint(rock[:, :4, :3].mean(axis=(0, 1)))
    values = relu1(filled)[..., :3]
    out = model.transform(images)
    np.testing.assert_allclose(out[:, :5], values.mean(axis=(2, 3)), **close)
    np.testing.assert_allclose(out[:, 5:10], values.std(axis=(2, 3)), **close)


def test_channels_last_is_read_from_the_file(tmp_path):
    # What keras gives: turned before the convolution, and back after it.
    weights = {"w": np.random.default_rng(0).normal(size=(7, 3, 1, 1)).astype("f4")}
    nodes = [
        helper.make_node("Transpose", ["picture"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "w"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Transpose", ["relu"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Sigmoid", ["last"], ["out"]),
        helper.make_node("Reshape", ["last", "tokens"], ["row"]),
    ]
    weights["tokens"] = np.array([0, 42, 7])
    path = write(
        tmp_path / "last.onnx", nodes, weights, (None, None, None, 3), ["out", "row"]
    )
    images = images_of(4, 6, 7)
    rule = {**PLAIN, "size": (6, 7)}
    relu = np.maximum(images @ weights["w"][:, :, 0, 0].T.astype(float), 0)
    for layer in ("relu", "last", "row"):
        model = PretrainedFeatures(path, layer, rule).fit(images)
        out = model.transform(images)
        np.testing.assert_allclose(out, relu.mean(axis=(1, 2)), rtol=1e-4)
    table = model.layers()
    assert table.loc["relu", "shape"] == (None, 7, 6, 7)
    assert table.loc["last", "shape"] == (None, 6, 7, 7)
    assert set(table["n_features"]) == {3, 7}


def test_branches_read_what_lies_around_them(tmp_path):
    weights = {"always": np.array(True), "twice": np.float32([2]), "unused": np.ones(3)}

    def branch(name, nodes):
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph(nodes, name, [], [output])

    four = numpy_helper.from_array(np.float32([4]), "four")
    then = [
        helper.make_node("Constant", [], ["four"], value=four),
        helper.make_node("Mul", ["means", "four"], ["more"]),
        helper.make_node("Mul", ["more", "twice"], ["then"]),
    ]
    other = [helper.make_node("Identity", ["means"], ["else"])]
    nodes = [
        helper.make_node("GlobalAveragePool", ["picture"], ["means"]),
        helper.make_node(
            *("If", ["always"], ["out"]),
            then_branch=branch("then", then),
            else_branch=branch("else", other),
        ),
        helper.make_node("Flatten", ["out"], ["flat"]),
    ]
    path = write(tmp_path / "if.onnx", nodes, weights, ("n", 3, 8, 8), ["flat"])
    images = images_of()
    model = PretrainedFeatures(path, preset=PLAIN).fit(images)
    wanted = 8 * images.mean(axis=(1, 2))
    np.testing.assert_allclose(model.transform(images), wanted, rtol=1e-5)
    assert model.layers().index.tolist() == ["means", "out", "flat"]


# ---- what the network gets to see


def seen(path, images, rule, shape):
    """What a network that gives the picture back was given."""
    model = PretrainedFeatures(path, "flat", rule).fit(images)
    return model.transform(images).reshape(len(images), *shape)


@pytest.mark.parametrize(
    ("name", "channels", "scale", "mean", "std"),
    [
        ("resnet50", "RGB", 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("vgg16", "RGB", 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("resnet50-keras", "BGR", 1, [103.939, 116.779, 123.68], [1, 1, 1]),
        ("vgg16-keras", "BGR", 1, [103.939, 116.779, 123.68], [1, 1, 1]),
        ("squeezenet", "BGR", 1, [0, 0, 0], [1, 1, 1]),
    ],
)
def test_presets_prepare_pictures(tmp_path, name, channels, scale, mean, std):
    images = images_of(3, 10, 16)
    path = identity(tmp_path / "same.onnx", ("n", 3, None, None))
    wanted = np.stack(
        [
            # Of 10 x 16 the middle 10 x 10 is cut out.
            Image.fromarray(image).resize((224, 224), Image.BICUBIC, (3, 0, 13, 10))
            for image in images
        ]
    ).astype(float)
    wanted = wanted[..., ::-1] if channels == "BGR" else wanted
    wanted = ((wanted / scale - mean) / std).transpose(0, 3, 1, 2)
    out = seen(path, images, name, (3, 224, 224))
    np.testing.assert_allclose(out, wanted, atol=2e-4 if scale == 1 else 1e-5)


def test_a_dict_is_a_preset(tmp_path):
    images = images_of(2, 12, 6)
    path = identity(tmp_path / "same.onnx", ("n", None, None, 3))
    rule = {"size": (6, 3), "scale": 2, "mean": (1, 2, 3), "std": (1, 2, 4)}
    shrunk = [Image.fromarray(i).resize((3, 6), Image.BICUBIC) for i in images]
    wanted = (np.stack(shrunk) * 2.0 - [1, 2, 3]) / [1, 2, 4]
    np.testing.assert_allclose(seen(path, images, rule, (6, 3, 3)), wanted, rtol=1e-5)
    turned = seen(path, images, {**rule, "channels": "BGR"}, (6, 3, 3))
    np.testing.assert_allclose(turned, wanted[..., ::-1], rtol=1e-5)


def test_the_size_in_the_file_comes_first(tmp_path):
    path = identity(tmp_path / "same.onnx")
    model = PretrainedFeatures(path, "flat", {**PLAIN, "size": 99}).fit(images_of())
    assert model.input_size_ == (6, 5)
    assert model.transform(images_of()).shape == (7, 3 * 6 * 5)


def test_grey_becomes_rgb_and_float_is_uint8(tmp_path):
    path = identity(tmp_path / "same.onnx")
    grey = images_of(3, 6, 5, 1)
    out = seen(path, grey, PLAIN, (3, 6, 5))
    np.testing.assert_array_equal(out, np.repeat(grey.transpose(0, 3, 1, 2), 3, axis=1))
    for dtype in (np.float32, np.float64):
        as_float = seen(path, (grey / 255).astype(dtype), PLAIN, (3, 6, 5))
        np.testing.assert_array_equal(as_float, out)


def test_what_is_masked_gets_the_mean_color_of_the_rock(tmp_path):
    path = identity(tmp_path / "same.onnx")
    images = images_of(2, 6, 5, 4)
    images[0, ..., 3], images[1, ..., 3] = 255, 0
    images[1, 2:5, 1:4, 3] = 200
    out = seen(path, images, PLAIN, (3, 6, 5)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(out[0], images[0, ..., :3])
    rock = images[1, 2:5, 1:4, :3]
    np.testing.assert_array_equal(out[1, 2:5, 1:4], rock)
    np.testing.assert_array_equal(out[1, 0, 0], np.rint(rock.mean(axis=(0, 1))))
    images[1, 0, 0, :3] = 0
    again = seen(path, images, PLAIN, (3, 6, 5)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(again, out)
    images[1, ..., 3] = 0
    with pytest.raises(ValueError, match="mask of picture 1 is empty"):
        seen(path, images, PLAIN, (3, 6, 5))


def test_rock_that_a_crop_would_lose_is_seen(tmp_path):
    path = identity(tmp_path / "same.onnx", ("n", 3, 8, 8))
    images = images_of(2, 40, 160, 4)
    images[..., 3] = 0
    images[0, 4:12, 2:10, 3] = 255  # beside the middle, which is kept
    images[1, 20, 80, 3] = 255  # one pixel, too few for any of the 8 × 8
    out = seen(path, images, PLAIN, (3, 8, 8)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(out[0], images[0, 4:12, 2:10, :3])
    np.testing.assert_array_equal(out[1], np.tile(images[1, 20, 80, :3], (8, 8, 1)))


def test_padding_gets_the_mean_color(tmp_path):
    path = identity(tmp_path / "same.onnx", ("n", 3, 4, 8))
    images = images_of(1, 4, 4)
    out = seen(path, images, {**PLAIN, "fit": "pad"}, (3, 4, 8)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(out[0, :, 2:6], images[0])
    np.testing.assert_array_equal(out[0, 1, 7], np.rint(images[0].mean(axis=(0, 1))))


# ---- batches, threads, float16


def test_neither_batches_nor_threads_change_the_result(network):
    images = images_of(11, 9, 9)
    model = PretrainedFeatures(network, "features").fit(images)
    wanted = model.transform(images)
    np.testing.assert_allclose(
        clone(model).set_params(batch_size=4).fit_transform(images), wanted, atol=1e-6
    )
    np.testing.assert_array_equal(model.set_params(n_jobs=2).transform(images), wanted)
    np.testing.assert_allclose(model.transform(images[3:4])[0], wanted[3], atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_filled(network, tmp_path, batch):
    path = small(tmp_path / "fixed.onnx", batch=batch)
    images = images_of(7)
    wanted = PretrainedFeatures(network).fit_transform(images)
    out = PretrainedFeatures(path).fit_transform(images)
    np.testing.assert_allclose(out, wanted, atol=1e-6)


def test_other_floats_give_float32(network, tmp_path):
    images = images_of()
    half = small(tmp_path / "half.onnx", dtype=np.float16)
    out = PretrainedFeatures(half).fit_transform(images)
    assert out.dtype == np.float32
    wanted = PretrainedFeatures(network).fit_transform(images)
    np.testing.assert_allclose(out, wanted, atol=0.02)
    double = identity(tmp_path / "double.onnx", ("n", 3, 8, 8), np.float64)
    out = PretrainedFeatures(double, preset=PLAIN).fit_transform(images)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, images.transpose(0, 3, 1, 2).reshape(7, -1))


def test_values_that_float16_cannot_hold_are_named(tmp_path):
    path = tmp_path / "half.onnx"
    nodes = [helper.make_node("GlobalAveragePool", ["picture"], ["out"])]
    write(path, nodes, {}, ("n", 3, 8, 8), ["out"], np.float16)
    images = images_of()
    images[:5] = 0
    model = PretrainedFeatures(path, preset={**PLAIN, "scale": 2000}).fit(images)
    with pytest.raises(ValueError, match="'out' gives infinity or NaN for picture 5"):
        model.set_params(batch_size=2).transform(images)


# ---- as an estimator


def test_estimator_contract(network):
    check_estimator(PretrainedFeatures(network, preset={"size": 8}), on_skip=None)


@pytest.mark.parametrize("side", [16, 80])
def test_a_classifier_learns_from_it(network, side):
    features = PretrainedFeatures(network, "features", BGR)
    model = ConvNetClassifier(features, (4,), max_epochs=1, random_state=0)
    images = images_of(24, side, side)
    model.fit(images, np.tile(["a", "b"], 12))
    assert "kernel, augmented" in model.candidates_
    wanted = model.features_.transform(images[:3])
    np.testing.assert_array_equal(model._rows(images[:3]), wanted)


@pytest.mark.parametrize(("n", "wanted"), [(100, 2), (2080, 1), (5000, 0)])
def test_a_classifier_takes_few_augmented_copies(network, n, wanted):
    images = np.broadcast_to(np.uint8(0), (n, 224, 224, 3))
    for features in (PretrainedFeatures(network), RockFeatures(network=network)):
        model = ConvNetClassifier()
        model.features_ = features
        assert model._n_copies(images) == wanted


def test_a_collection_is_read_in_blocks_and_cached(network, pictures, tmp_path):
    images, labels = pictures
    Collection.from_arrays(tmp_path / "a.h5", images, labels).close()
    with Collection(tmp_path / "a.h5", "r+") as rocks:
        model = PretrainedFeatures(network, "features").fit(rocks)
        out = model.transform(rocks)
        np.testing.assert_allclose(out, model.transform(images), atol=1e-6)
        assert len(rocks.cache.files()) == 1
        # Another content of the file is another transformer.
        other = small(tmp_path / "other.onnx", seed=1)
        model = PretrainedFeatures(other, "features").fit(rocks)
        assert np.abs(model.transform(rocks) - out).max() > 0.01
        assert len(rocks.cache.files()) == 2


@pytest.mark.parametrize("kind", [str, Path])
def test_a_fitted_one_is_kept_without_its_session(network, tmp_path, kind):
    path = tmp_path / "mine.onnx"
    path.write_bytes(network.read_bytes())
    images = images_of()
    model = PretrainedFeatures(kind(path), "features").fit(images)
    wanted = model.transform(images)
    data = skops.io.dumps(model)
    strangers = skops.io.get_untrusted_types(data=data)
    assert strangers == ["geoimages.features.pretrained.PretrainedFeatures"]
    for loaded in (
        pickle.loads(pickle.dumps(model)),
        skops.io.loads(data, trusted=strangers),
    ):
        np.testing.assert_array_equal(loaded.transform(images), wanted)
    halves = joblib.Parallel(2, prefer="threads")(
        joblib.delayed(model.transform)(images[i : i + 4]) for i in (0, 4)
    )
    np.testing.assert_allclose(np.concatenate(halves), wanted, atol=1e-6)


def test_rock_features_are_saved_with_the_path_of_their_network(network, tmp_path):
    images = images_of()
    rock = RockFeatures(network=Path(network), conv=0).fit(images)
    save(rock, tmp_path / "rock.skops")
    loaded = load(tmp_path / "rock.skops")
    np.testing.assert_array_equal(loaded.transform(images), rock.transform(images))


def test_its_name_in_a_cache_is_the_content_of_the_file(network, tmp_path):
    images = images_of()
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(network.read_bytes())
    model = PretrainedFeatures(network).fit(images)
    state, name = joblib.hash(model), joblib.hash(model._identity())
    model.transform(images)
    assert joblib.hash(model) == state
    moved = PretrainedFeatures(str(copy), batch_size=2, n_jobs=2).fit(images)
    assert joblib.hash(moved._identity()) == name
    small(copy, seed=1)
    for other in (
        PretrainedFeatures(copy),
        PretrainedFeatures(network, "features"),
        PretrainedFeatures(network, preset=BGR),
        PretrainedFeatures(network, pool="max"),
    ):
        assert joblib.hash(other.fit(images)._identity()) != name


def test_a_moved_or_altered_file_is_named(tmp_path):
    path = small(tmp_path / "mine.onnx")
    images = images_of()
    model = PretrainedFeatures(path).fit(images)
    wanted = model.transform(images)
    loaded = pickle.loads(pickle.dumps(model))
    path.rename(tmp_path / "moved.onnx")
    with pytest.raises(FileNotFoundError, match=r"mine\.onnx .* was moved, say where"):
        loaded.transform(images)
    loaded.set_params(model_path=tmp_path / "moved.onnx")
    np.testing.assert_array_equal(loaded.transform(images), wanted)
    small(path, seed=1)
    loaded.set_params(model_path=path)
    with pytest.raises(ValueError, match="is not the file that was fitted"):
        loaded.transform(images)
    assert np.abs(loaded.fit(images).transform(images) - wanted).max() > 1e-3


def test_weights_beside_the_file(network, tmp_path):
    path = tmp_path / "apart.onnx"
    options = {
        "save_as_external_data": True,
        "location": "weights",
        "size_threshold": 0,
    }
    small(path, **options)
    images = images_of()
    model = PretrainedFeatures(path).fit(images)
    wanted = PretrainedFeatures(network).fit_transform(images)
    np.testing.assert_array_equal(model.transform(images), wanted)
    weights = tmp_path / "weights"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + b"\0")
    with pytest.raises(ValueError, match="is not the file that was fitted"):
        pickle.loads(pickle.dumps(model)).transform(images)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="keep the files together"):
        PretrainedFeatures(path).fit(images)
    (tmp_path / "inner").mkdir()
    weights.write_bytes(data)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../weights"
    (tmp_path / "inner" / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="outside its own folder"):
        PretrainedFeatures(tmp_path / "inner" / "a.onnx").fit(images)


def test_a_small_embedding_on_frozen_features(network, pictures):
    images, labels = pictures
    features = make_pipeline(
        PretrainedFeatures(network, "relu1"),
        MLPEmbedding(hidden_layer_sizes=(32,), alpha=1e-4, random_state=0),
    )
    model = PairwiseModel(features=features).fit(images[:100], labels[:100])
    assert model.search_.rows.shape == (100, 32)
    chance = max(np.mean(labels == label) for label in set(labels))
    assert model.score(images[100:], labels[100:]) > 1.5 * chance


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "relu2"}, ValueError, "no layer 'relu2'; near it are 'relu1'"),
        ({"layer": 3}, TypeError, "layer is a name"),
        ({"layer": "apart"}, ValueError, "'apart' .* does not depend on the picture"),
        ({"layer": "best"}, ValueError, "'best' .* gives int64, expected floats"),
        ({"preset": "resnet"}, ValueError, "'resnet' is not known; .* resnet50,"),
        ({"preset": "resnet50"}, ValueError, "6 columns, but the preset expects 2048"),
        ({"preset": {"side": 8}}, ValueError, "no 'side'; it may have size, channels"),
        ({"preset": {"channels": "HSV"}}, ValueError, "'RGB' or 'BGR', got 'HSV'"),
        ({"preset": {"std": (1, 0, 1)}}, ValueError, "none 0; got"),
        ({"preset": {"mean": (1, 2)}}, ValueError, "mean is a number or three"),
        ({"preset": {"scale": "x"}}, ValueError, "scale is one number; got 'x'"),
        ({"preset": {"fit": "squash"}}, ValueError, "fit is one of .* got 'squash'"),
        ({"preset": {"size": 0}}, ValueError, "size must be"),
        ({"preset": 3}, TypeError, "a name, a dict or None, got 3"),
        ({"batch_size": 0}, ValueError, "batch_size must be 1 or more, got 0"),
        ({"pool": "sum"}, ValueError, "'mean', 'max' or 'mean_std', got 'sum'"),
        ({"model_path": 3}, TypeError, "path of an ONNX file, got 3"),
        ({"model_path": "no.onnx"}, FileNotFoundError, r"no\.onnx is no file"),
    ],
)
def test_wrong_parameters(network, options, error, message):
    model = PretrainedFeatures(**{"model_path": network, **options})
    with pytest.raises(error, match=message) as raised:
        model.fit(images_of())
    assert "\n" not in str(raised.value)


def test_wrong_files(tmp_path):
    path = tmp_path / "wrong.onnx"
    for data in (b"", b"version https://git-lfs", bytes(range(256))):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"wrong\.onnx is not an ONNX network"):
            PretrainedFeatures(path).layers()
    for shape, shown in {
        ("n", 4): r"\(\?, 4\)",
        (1, 1, 28, 28): r"\(1, 1, 28, 28\)",
        ("n", "c", "h", "w"): r"\(\?, \?, \?, \?\)",
    }.items():
        identity(path, shape)
        with pytest.raises(ValueError, match=f"the shape {shown}, expected pictures"):
            PretrainedFeatures(path).fit(images_of())
    identity(path, dtype=np.uint8)
    with pytest.raises(ValueError, match="is uint8, expected float"):
        PretrainedFeatures(path).fit(images_of())
    add = [helper.make_node("Add", ["picture", "noise"], ["out"])]
    write(path, add, {}, ("n", 3, 6, 5), ["out"])
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("noise", 1, (1,)))
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"has 2 inputs \(picture, noise\)"):
        PretrainedFeatures(path).fit(images_of())


def test_networks_that_do_not_run(tmp_path):
    path = tmp_path / "odd.onnx"
    shape = ("n", 3, 6, 5)
    write(path, [helper.make_node("Frob", ["picture"], ["out"])], {}, shape, ["out"])
    with pytest.raises(ValueError, match="ONNX Runtime cannot open") as raised:
        PretrainedFeatures(path).fit(images_of())
    assert "\n" not in str(raised.value)
    assert PretrainedFeatures(path).layers().loc["out", "shape"] is None
    weights = {"to": np.array([2, -1])}
    reshape = [helper.make_node("Reshape", ["picture", "to"], ["out"])]
    write(path, reshape, weights, shape, ["out"])
    with pytest.raises(ValueError, match=r"gives the shape \(2, 45\) for 1 pictures"):
        PretrainedFeatures(path).fit(images_of())
    with pytest.raises(ValueError, match="no layer with weights"):
        PretrainedFeatures(path, "penultimate").fit(images_of())
    weights["to"] = np.array([7, 3])
    write(path, reshape, weights, shape, ["out"])
    with pytest.raises(ValueError, match="ONNX Runtime failed on"):
        PretrainedFeatures(path).fit(images_of())


def test_without_the_extra(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    spec = importlib.util.spec_from_file_location(
        "geoimages.features.anew", pretrained.__file__
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ImportError, match=r"geoimages\[network\].*\[pretrained\]"):
        module.PretrainedFeatures(network).fit(images_of())


# ---- networks of the true architecture


class Drawing:
    """Nodes of a network in float16; each weight is one small block, repeated."""

    def __init__(self):
        self.nodes, self.weights = [], {}
        self.rng = np.random.default_rng(0)

    def __call__(self, op, inputs, name, output=None, **attributes):
        output = output or f"{name}_output_0"
        node = helper.make_node(op, inputs, [output], name, **attributes)
        self.nodes.append(node)
        return output

    def weight(self, name, *shape):
        """A weight of a shape, which takes no room in the file."""
        tile = [min(side, 32) for side in shape]
        # What repeats adds up as a sum, what is random as its root.
        gain = np.sqrt(np.prod(tile[1:])) / np.prod(shape[1:])
        values = self.rng.normal(0, gain, tile).astype(np.float16)
        self.weights[f"{name}.tile"] = values
        self.weights[f"{name}.times"] = np.array(
            [-(-side // part) for side, part in zip(shape, tile, strict=True)]
        )
        if all(side % part == 0 for side, part in zip(shape, tile, strict=True)):
            return self(
                "Tile", [f"{name}.tile", f"{name}.times"], f"{name}.whole", name
            )
        whole = self("Tile", [f"{name}.tile", f"{name}.times"], f"{name}.whole")
        self.weights |= {
            f"{name}.zero": np.zeros(len(shape), np.int64),
            f"{name}.shape": np.array(shape),
        }
        ends = [whole, f"{name}.zero", f"{name}.shape"]
        return self("Slice", ends, f"{name}.cut", name)

    def conv(self, x, name, channels, wanted, side, stride=1):
        weight = self.weight(f"{name}.weight", wanted, channels, side, side)
        pads, size = [side // 2] * 4, [side, side]
        options = {"kernel_shape": size, "pads": pads, "strides": [stride, stride]}
        return self("Conv", [x, weight], f"/{name}/Conv", **options)

    def linear(self, x, name, n, wanted, output=None):
        weight = self.weight(f"{name}.weight", wanted, n)
        return self("Gemm", [x, weight], f"/{name}/Gemm", output, transB=1)

    def write(self, path, outputs, side):
        shape = ("n", 3, side, side)
        return write(path, self.nodes, self.weights, shape, outputs, np.float16)


def draw_resnet50(path, side=224):
    """ResNet50 as torchvision names it."""
    draw = Drawing()
    x = draw.conv("picture", "conv1", 3, 64, 7, 2)
    x = draw("Relu", [x], "/relu/Relu")
    options = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}
    x = draw("MaxPool", [x], "/maxpool/MaxPool", **options)
    channels = 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            name = f"layer{stage + 1}/layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            y = draw.conv(x, f"{name}/conv1", channels, width, 1)
            y = draw("Relu", [y], f"/{name}/relu/Relu")
            y = draw.conv(y, f"{name}/conv2", width, width, 3, stride)
            y = draw("Relu", [y], f"/{name}/relu_1/Relu")
            y = draw.conv(y, f"{name}/conv3", width, 4 * width, 1)
            if not block:
                x = draw.conv(x, f"{name}/downsample", channels, 4 * width, 1, stride)
            y = draw("Add", [y, x], f"/{name}/Add")
            x = draw("Relu", [y], f"/{name}/relu_2/Relu")
            channels = 4 * width
    x = draw("GlobalAveragePool", [x], "/avgpool/GlobalAveragePool")
    x = draw("Flatten", [x], "/Flatten")
    draw.linear(x, "fc", 2048, 1000, "logits")
    return draw.write(path, ["logits"], side)


def draw_vgg16(path, side=224):
    """VGG16 as torchvision names it."""
    draw = Drawing()
    x, channels, number = "picture", 3, 0
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, *(512, 512, 512, 0) * 2):
        name = f"features/features.{number}"
        if width:
            x = draw.conv(x, name, channels, width, 3)
            x = draw("Relu", [x], f"/features/features.{number + 1}/Relu")
            channels, number = width, number + 2
        else:
            options = {"kernel_shape": [2, 2], "strides": [2, 2]}
            x = draw("MaxPool", [x], f"/{name}/MaxPool", **options)
            number += 1
    x = draw("Flatten", [x], "/Flatten")
    n = 512 * (side // 32) ** 2
    for number, columns in ((0, n), (3, 4096)):
        x = draw.linear(x, f"classifier/classifier.{number}", columns, 4096)
        x = draw("Relu", [x], f"/classifier/classifier.{number + 1}/Relu")
    draw.linear(x, "classifier/classifier.6", 4096, 1000, "logits")
    return draw.write(path, ["logits"], side)


def test_resnet50(tmp_path):
    path = draw_resnet50(tmp_path / "resnet50.onnx")
    table = PretrainedFeatures(path).layers()
    assert (table["op"] == "Conv").sum() == 53
    for name, shape in {
        "/conv1/Conv_output_0": (None, 64, 112, 112),
        "/layer1/layer1.2/relu_2/Relu_output_0": (None, 256, 56, 56),
        "/layer3/layer3.5/relu_2/Relu_output_0": (None, 1024, 14, 14),
        "/layer4/layer4.2/relu_2/Relu_output_0": (None, 2048, 7, 7),
        "/avgpool/GlobalAveragePool_output_0": (None, 2048, 1, 1),
        "/Flatten_output_0": (None, 2048),
        "logits": (None, 1000),
    }.items():
        assert table.loc[name, "shape"] == shape
    images = images_of(2, 28, 28)
    model = PretrainedFeatures(path, preset="resnet50").fit(images)
    assert model.layer_ == "/Flatten_output_0"
    out = model.transform(images)
    assert out.shape == (2, 2048)
    assert np.isfinite(out).all()
    assert (out[0] != out[1]).any()
    inner = PretrainedFeatures(path, "/layer4/layer4.2/relu_2/Relu", "resnet50")
    np.testing.assert_allclose(inner.fit_transform(images[:1])[0], out[0], rtol=2e-3)


def test_vgg16(tmp_path):
    path = draw_vgg16(tmp_path / "vgg16.onnx")
    table = PretrainedFeatures(path).layers()
    assert (table["op"] == "Conv").sum() == 13
    for name, shape in {
        "/features/features.1/Relu_output_0": (None, 64, 224, 224),
        "/features/features.30/MaxPool_output_0": (None, 512, 7, 7),
        "/Flatten_output_0": (None, 25088),
        "/classifier/classifier.4/Relu_output_0": (None, 4096),
        "logits": (None, 1000),
    }.items():
        assert table.loc[name, "shape"] == shape
    # The same at 32 pixels, where it is quick: fc1 has 512 inputs.
    path = draw_vgg16(tmp_path / "vgg16.onnx", 32)
    images = images_of(2, 28, 28)
    model = PretrainedFeatures(path, preset="vgg16").fit(images)
    assert model.layer_ == "/classifier/classifier.4/Relu_output_0"
    out = model.transform(images)
    assert out.shape == (2, 4096)
    assert out.min() == 0
    assert (out[0] != out[1]).any()


def test_a_file_that_ends_at_the_features(tmp_path):
    path = tmp_path / "headless.onnx"
    weights = {"w": np.ones((2048, 3, 1, 1), np.float32)}
    nodes = [
        helper.make_node("Conv", ["picture", "w"], ["conv"]),
        helper.make_node("GlobalAveragePool", ["conv"], ["pooled"]),
    ]
    write(path, nodes, weights, ("n", 3, 8, 8), ["pooled"])
    model = PretrainedFeatures(path, preset="resnet50").fit(images_of())
    assert model.layer_ == "pooled"
    assert (
        pretrained.PRESETS["resnet50"]["n_features"]
        == model.transform(images_of()).shape[1]
    )


# ---- tokens


def draw_transformer(path, side=28, patch=14, width=12, seed=0):
    """A vision transformer of one block, as DINOv2: tokens, of which the first is CLS."""
    rng = np.random.default_rng(seed)
    n_tokens = (side // patch) ** 2

    def random(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "patch.weight": random(width, 3, patch, patch) / patch,
        "cls": random(1, 1, width),
        "position": random(1, 1 + n_tokens, width),
        "qkv": random(3, width, width),
        "mlp": random(width, width),
        "gain": np.ones(width, np.float32),
        "bias": np.zeros(width, np.float32),
        "tokens": np.array([0, width, -1]),
        "first": np.array(0),
        "scale": np.float32(width**-0.5),
        **{name: np.array([i]) for i, name in enumerate("qkv")},
    }
    options = {"kernel_shape": [patch] * 2, "strides": [patch] * 2}
    node = helper.make_node
    nodes = [
        node("Conv", ["picture", "patch.weight"], ["patches"], **options),
        node("Reshape", ["patches", "tokens"], ["flat"]),
        node("Transpose", ["flat"], ["rows"], perm=[0, 2, 1]),
        node("Shape", ["rows"], ["shape"]),
        node("Gather", ["shape", "q"], ["n"]),
        node("Concat", ["n", "k", "k"], ["times"], axis=0),
        node("Tile", ["cls", "times"], ["heads"]),
        node("Concat", ["heads", "rows"], ["whole"], axis=1),
        node("Add", ["whole", "position"], ["placed"]),
    ]
    for name in "qkv":
        nodes += [
            node("Gather", ["qkv", name], [f"{name}.weight"], axis=0),
            node("MatMul", ["placed", f"{name}.weight"], [f"{name}.rows"]),
        ]
    nodes += [
        node("Transpose", ["k.rows"], ["keys"], perm=[0, 2, 1]),
        node("MatMul", ["q.rows", "keys"], ["products"]),
        node("Mul", ["products", "scale"], ["scaled"]),
        node("Softmax", ["scaled"], ["attention"], axis=-1),
        node("MatMul", ["attention", "v.rows"], ["mixed"]),
        node("Add", ["placed", "mixed"], ["sum"]),
        node("LayerNormalization", ["sum", "gain", "bias"], ["states"], axis=-1),
        node("Gather", ["states", "first"], ["class"], axis=1),
    ]
    shape = ("n", 3, side, side)
    write(path, nodes, weights, shape, ["class"])
    model = onnx.load(path)
    model.opset_import[0].version = 17  # LayerNormalization
    onnx.save_model(model, path)
    return path


def test_a_vision_transformer(tmp_path):
    path = draw_transformer(tmp_path / "dinov2.onnx", side=224, width=384)
    images = images_of(3, 40, 30)
    model = PretrainedFeatures(path, preset="dinov2-small").fit(images)
    assert model.layer_ == "class"
    assert model.input_size_ == (224, 224)
    rows = model.transform(images)
    assert rows.shape == (3, 384)
    np.testing.assert_allclose(rows.mean(axis=1), 0, atol=1e-4)  # normalized
    tokens = PretrainedFeatures(path, "states", "dinov2-small", pool="mean_std")
    rows = tokens.fit_transform(images)
    assert rows.shape == (3, 768)
    assert (rows[:, 384:] > 0).all()
    with pytest.raises(
        ValueError, match="gives 12 columns, but the preset expects 384"
    ):
        small = draw_transformer(tmp_path / "small.onnx")
        PretrainedFeatures(small, preset="dinov2-small").fit(images)


# ---- a network that was really trained


@pytest.mark.real
def test_squeezenet(real_data):
    path = real_data / "backbone" / "squeezenet_fp16.onnx"
    down, across = np.mgrid[:240, :300] / 240
    # A ball that is lit from above, on grass under a sky.
    scene = np.zeros((240, 300, 3))
    scene[:] = np.where(down[..., None] < 0.5, [110, 160, 230], [70, 130, 50])
    height = 0.09 - (down - 0.55) ** 2 - (across - 0.6) ** 2
    light = 0.4 + 2 * np.sqrt(np.maximum(height, 0)) - (down - 0.55)
    ball = height > 0
    scene[ball] = (light[..., None] * [255, 120, 20])[ball]
    photo = np.clip(scene, 0, 255).astype(np.uint8)[None]
    table = PretrainedFeatures(path).layers()
    assert table.loc["pool10_1", "shape"] == (1, 1000, 1, 1)
    assert table.loc["fire9/concat_1", "n_features"] == 512
    classes = PretrainedFeatures(path, "softmaxout_1", "squeezenet").fit(photo)
    (answer,) = classes.transform(photo)
    assert answer.dtype == np.float32
    assert answer.sum() == pytest.approx(1, abs=0.01)
    best = answer.argmax()
    assert best == 722  # a ping-pong ball
    assert answer[best] > 0.5
    assert classes.transform(photo / np.float32(255))[0].argmax() == best
    batch = np.concatenate([photo[:, :, ::-1], photo, photo // 2])
    np.testing.assert_allclose(classes.transform(batch)[1], answer, atol=1e-6)
    rows = PretrainedFeatures(path, preset="squeezenet").fit_transform(batch)
    assert rows.shape == (3, 512)
    near = np.corrcoef(rows)
    assert near[0, 1] > 0.9
