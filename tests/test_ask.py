"""What is it, and where else have we seen it: one question to fitted models."""

import numpy as np
import pytest
from PIL import Image

from geoimages import Collection, PairwiseModel, RockFeatures, write_rocks
from geoimages.pictures.reading import ImageReadError
from geoimages.workflows import ask, fit_keeping


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Sixty drawn rocks of two drill holes."""
    folder = tmp_path_factory.mktemp("ask")
    archive = write_rocks(folder / "rocks.zip", 60, random_state=0)
    Collection.create(folder / "plain.h5", archive).close()
    with Collection(folder / "plain.h5") as rocks:
        table = rocks.table[["source"]].rename(columns={"source": "file"})
    table["hole"] = np.where(np.arange(60) % 2, "BH1", "BH2")
    Collection.create(folder / "rocks.h5", archive, metadata=table).close()
    return folder / "rocks.h5"


@pytest.fixture(scope="module")
def rocks(path):
    with Collection(path, "r+") as collection:
        yield collection


@pytest.fixture(scope="module")
def model(rocks):
    return fit_keeping(PairwiseModel(5, features=RockFeatures()), rocks)


def as_png(image, path):
    Image.fromarray(image).save(path)
    return path.read_bytes()


def test_a_key_is_answered_as_the_model_answers(model, rocks):
    key = str(rocks.keys[7])
    answer = ask(model, rocks, key)
    expected = model.predict(key, explain=True)
    np.testing.assert_array_equal(answer.picture, rocks[key])
    columns = [name for name in expected if name != "orientation"]
    assert answer.matches[columns].equals(expected[columns])
    assert not answer.found
    assert answer.notes == ["compared with 60 pictures"]
    assert not len(answer.classes)


def test_a_picture_that_is_there_is_found_again_rotated(model, rocks, tmp_path):
    data = as_png(np.rot90(rocks[7]), tmp_path / "a.png")
    answer = ask(model, rocks, data)
    assert answer.found
    best = answer.matches.loc[rocks.keys[7]]
    assert best["same"] > 0.9
    assert best["orientation"] == 270
    others = answer.matches.drop(rocks.keys[7])
    assert others["orientation"].isna().all()


def test_only_some_pictures_are_searched(model, rocks):
    key = str(rocks.keys[7])
    answer = ask(model, rocks, key, where={"hole": "BH2"}, k_candidates=40)
    assert set(rocks.table.loc[answer.matches.index, "hole"]) == {"BH2"}
    assert len(answer.matches) == 30
    assert answer.notes == ["compared with 30 pictures"]
    with pytest.raises(ValueError, match="No picture of rocks.h5 has hole=BH3"):
        ask(model, rocks, key, where={"hole": "BH3"})


def test_a_part_is_cut_out_and_its_whole_left_out(model, rocks, tmp_path):
    key = str(rocks.keys[7])
    answer = ask(model, rocks, key, box=(0, 0, 0.5, 0.5))
    assert key not in answer.matches.index
    assert answer.notes[1] == "resized from 14 × 14 to 28 × 28 pixels"
    large = np.zeros((100, 200, 3), np.uint8)
    large[:, 100:] = 255
    data = as_png(large, tmp_path / "large.png")
    right = ask(model, rocks, data, box=(0.5, 0, 1, 1))
    assert (right.picture == 255).all()
    for box in [(0.5, 0, 0.5, 1), (0, 0, 2, 1), (0, 0, float("nan"), 1)]:
        with pytest.raises(ValueError, match="box="):
            ask(model, rocks, key, box=box)


def test_what_cannot_be_read_is_refused_without_a_path(model, rocks):
    with pytest.raises(ImageReadError, match="the picture: no known picture format"):
        ask(model, rocks, b"no picture")
    png = as_png(np.zeros((50, 50, 3), np.uint8), rocks.path.with_name("b.png"))
    with pytest.raises(ImageReadError, match="too-large"):
        ask(model, rocks, png, max_pixels=2000)


def test_pixels_have_no_shares(rocks):
    model = fit_keeping(PairwiseModel(5), rocks)
    answer = ask(model, rocks, str(rocks.keys[0]))
    assert {"correlation", "similarity", "same"} <= set(answer.matches)
    assert "color" not in answer.matches


def test_fitted_features_are_kept_and_found_again(path, model, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("fitted again")

    monkeypatch.setattr(RockFeatures, "fit", fail)
    monkeypatch.setattr(RockFeatures, "transform", fail)
    with Collection(path, "r+") as rocks:
        again = fit_keeping(PairwiseModel(5, features=RockFeatures()), rocks)
        key = str(rocks.keys[3])
        assert again.predict(key).equals(model.predict(key))
        assert len(rocks.cache.files()) == 2
        rocks.cache.files()[0].write_bytes(b"damaged")
        rocks.cache.files()[1].write_bytes(b"damaged")
        with pytest.raises(AssertionError, match="fitted again"):
            fit_keeping(PairwiseModel(5, features=RockFeatures()), rocks)
    monkeypatch.undo()
    with Collection(path) as rocks:  # nothing is kept
        again = fit_keeping(PairwiseModel(5, features=RockFeatures()), rocks)
        assert again.predict(key).equals(model.predict(key))


def test_labels_of_a_page_replace_those_of_the_folders(rocks, tmp_path):
    key = str(rocks.keys[3])
    csv = tmp_path / "labels.csv"
    csv.write_text(f"file,label\n{key},new kind\nunknown,marble\n", encoding="utf-8")
    before = rocks.labels.copy()
    with rocks.with_labels(csv) as other:
        assert other.labels[3] == "new kind"
        assert other.table["label"][key] == "new kind"
        assert (np.delete(other.labels, 3) == np.delete(before, 3)).all()
    assert (rocks.labels == before).all()
    with pytest.raises(ValueError, match="None of the 1 labels"):
        rocks.with_labels({"nothing": "marble"})
    csv.write_text("name,label\na,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="the columns 'key'"):
        rocks.with_labels(csv)
    with pytest.raises(FileNotFoundError, match="No labels at"):
        rocks.with_labels(tmp_path / "none.csv")
