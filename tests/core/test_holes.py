"""Classes by depth: beds, holes kept apart, scores per centimeter."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoimages import Collection, evaluate_classifier, holdout, tile_core
from geoimages.cli import main
from geoimages.core.holes import hold_out_holes, score_per_centimeter

BEDS = pd.DataFrame(
    [
        (hole, *bed)
        for hole in "ABC"
        for bed in ((10, 10.5, "dark"), (10.5, 11, "light"))
    ],
    columns=["hole", "from", "to", "label"],
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three holes of one row, 10 to 11 m: dark to 10.5 m, then light."""
    folder = tmp_path_factory.mktemp("holes")
    rng = np.random.default_rng(0)
    for hole in "ABC":
        photo = rng.integers(60, 90, (64, 640, 1), np.uint8).repeat(3, axis=2)
        photo[:, 320:] += 80
        name = folder / f"{hole}_1_10_11"
        Image.fromarray(photo).save(name.with_name(f"{name.name}.png"))
        corners = [[0, 0], [640, 0], [640, 64], [0, 64]]
        name.with_name(f"{name.name}.rows.json").write_text(f'{{"rows": [{corners}]}}')
    return folder


@pytest.fixture(scope="module")
def tiles(photos):
    """Their labeled tiles."""
    with tile_core(
        photos / "t.h5", photos, beds=BEDS, size=32, scales=1, keep_all=True
    ) as collection:
        yield collection


class Model:
    """A classifier by brightness that remembers what it learned from."""

    classes_ = np.array(["dark", "light"])
    learned_hashes_ = np.empty(0, np.uint64)
    held_out_hashes_ = np.empty(0, np.uint64)
    image_shape_ = (32, 32, 3)

    def predict_proba(self, images):
        light = (images.mean(axis=(1, 2, 3)) > 110).astype(float)
        return np.stack([1 - light, light], axis=1)

    def predict(self, images):
        return self.classes_[self.predict_proba(images).argmax(axis=1)]


def test_tiles_have_the_label_of_their_bed(tiles):
    table = tiles.table
    assert set(table.loc[table["depth_to"] <= 10.52, "label"]) == {"dark"}
    assert set(table.loc[table["depth_from"] >= 10.49, "label"]) == {"light"}


def test_whole_holes_are_held_out(tiles):
    train, test = holdout(tiles, share=0.3, random_state=0)
    holes = tiles.table["hole"].to_numpy()
    assert not set(holes[train]) & set(holes[test])
    assert len(set(holes[test])) == 1
    random = pd.DataFrame(
        {
            "key": tiles.keys,
            "split": np.where(np.arange(len(tiles)) % 4, "train", "test"),
        }
    )
    with pytest.raises(
        ValueError, match="holes A, B, C on both sides; neighboring tiles"
    ):
        holdout(tiles, random)
    apart = random.assign(split=np.where(holes == "B", "test", "train"))
    assert set(holes[holdout(tiles, apart)[1]]) == {"B"}


def test_classes_stay_to_learn_from():
    holes = np.array(["A", "A", "B", "C"])
    labels = np.array(["x", "y", "x", "z"])
    for seed in range(5):
        _, test = hold_out_holes(holes, labels, np.arange(4), 0.2, seed)
        assert test.tolist() == [2]


def test_a_split_within_one_hole_is_refused(photos, tmp_path, capsys):
    one = str(tmp_path / "one.h5")
    BEDS.to_csv(tmp_path / "beds.csv", index=False)
    argv = ["tile", "--core", str(photos / "A_1_10_11.png"), "--size", "32", "-o", one]
    assert main([*argv, "--beds", str(tmp_path / "beds.csv")]) == 0
    assert main(["train", one, "-o", str(tmp_path / "m.skops")]) == 2
    wrong = capsys.readouterr().err
    assert "All labeled tiles are of hole A; neighboring tiles share rock" in wrong
    assert "Martin 2021" in wrong
    assert not (tmp_path / "m.skops").exists()


def test_evaluation_counts_centimeters(tiles):
    model = Model()
    report = evaluate_classifier(model, tiles)["depth"]
    assert report["centimeters"] == 300
    assert report["macro_f1"] > 0.95
    assert report["holes"] == ["A", "B", "C"]
    from geoimages.workflows import _content_hashes

    holes = tiles.table["hole"].to_numpy()
    model.learned_hashes_ = _content_hashes(tiles[np.flatnonzero(holes == "A")[::2]])
    with pytest.raises(ValueError, match="puts tiles of hole A on both sides"):
        evaluate_classifier(model, tiles)


def test_centimeters_of_missed_classes_count():
    table = pd.DataFrame(
        {"hole": "A", "depth_from": [0.0, 0.1], "depth_to": [0.1, 0.4]},
        index=["a", "b"],
    )
    proba = np.array([[1.0, 0.0], [1.0, 0.0]])
    y = np.array(["x", "y"])
    scores = score_per_centimeter(table, y, proba, np.array(["x", "y"]))
    assert scores["centimeters"] == 40
    assert scores["accuracy"] == 0.25
    assert scores["macro_f1"] == pytest.approx(0.2)  # of x 0.4, of y 0


def test_other_collections_are_split_as_before(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), np.uint8)
    labels = np.array(["a", "b"] * 6)
    with Collection.from_arrays(tmp_path / "a.h5", images, labels=labels) as rocks:
        train, test = holdout(rocks, share=0.3)
        assert len(train) + len(test) == 12
