"""find_similar: from a collection and a key or a file to the ranked table."""

import numpy as np
import pytest
from PIL import Image

from geoimages import (
    Collection,
    ColorFeatures,
    KMeansModel,
    PairwiseModel,
    PatternFeatures,
    find_similar,
    make_rocks,
)
from geoimages.collection.selection import Range


def test_by_key_and_by_file(rocks, draw):
    table = find_similar(PairwiseModel(4), rocks, rocks.keys[0])
    assert len(table) == 4
    assert rocks.keys[0] not in table.index
    path = draw("photo.png", size=(50, 90))
    assert len(find_similar(PairwiseModel(4), rocks, path)) == 4


def test_only_where(rocks):
    key = rocks.keys[0]
    outside = rocks.labels[-1]
    table = find_similar(PairwiseModel(30), rocks, key, {"label": outside})
    assert len(table) == 10
    assert {rocks.labels[rocks.position(k)] for k in table.index} == {outside}
    inside = find_similar(PairwiseModel(30), rocks, key, {"label": rocks.labels[0]})
    assert len(inside) == 9


def test_the_candidates_copies_are_excluded_wherever_it_is(pictures, tmp_path):
    images = np.concatenate([pictures[0][:6], np.rot90(pictures[0][:1], axes=(1, 2))])
    keys = [f"a.{i}" for i in range(6)] + ["a.0.90"]
    rocks = Collection.from_arrays(tmp_path / "a.h5", images, keys=keys)
    where = {"sha256": rocks.table["sha256"].tolist()[1:]}
    model = PairwiseModel(orientation="rotations")
    assert sorted(find_similar(model, rocks, "a.0", where).index) == keys[1:6]
    assert len(find_similar(model, rocks, "a.1", where)) == 5


def test_the_model_given_stays_as_it_is(rocks):
    model = PairwiseModel(4)
    find_similar(model, rocks, rocks.keys[0])
    assert model.image_shape is None
    assert not hasattr(model, "keys_")


def test_too_few_pictures_for_the_clusters(rocks):
    where = {"source": rocks.table["source"].tolist()[:2]}
    with pytest.raises(ValueError, match="num_clusters=3 .*n_samples=2"):
        find_similar(KMeansModel(), rocks, rocks.keys[0], where)


def test_neither_key_nor_file(rocks):
    with pytest.raises(KeyError, match="neither a picture file nor a key"):
        find_similar(PairwiseModel(), rocks, "nothing.jpg")


def test_nothing_fits(rocks):
    for where, told in (
        ({"label": "basalt"}, "label=basalt"),
        ({"label": ["basalt", "tuff"]}, "label=basalt or label=tuff"),
        (
            {"label": "basalt", "ledger_row": [Range(">3") & Range("<=9")]},
            "label=basalt, and ledger_row>3 and ledger_row<=9",
        ),
        ({"ledger_row": "900.."}, "ledger_row=900.."),
    ):
        with pytest.raises(ValueError, match="No picture of") as error:
            find_similar(PairwiseModel(), rocks, rocks.keys[0], where)
        assert str(error.value) == f"No picture of rocks.h5 has {told}."


def test_notes_say_what_was_compared_and_what_was_done_to_the_candidate(rocks, draw):
    model = PairwiseModel(4, "euclidean", features=ColorFeatures())
    notes = find_similar(model, rocks, rocks.keys[0]).attrs["notes"]
    assert notes == ["compared 60 pictures: ColorFeatures(), euclidean"]
    path = draw("photo.png", size=(50, 90))
    notes = find_similar(PairwiseModel(4), rocks, path).attrs["notes"]
    assert notes == [
        "compared 60 pictures: pixels, correlation",
        "resized photo.png from 50 × 90 to 28 × 28 pixels (crop)",
    ]


def test_notes_say_whether_the_picture_was_found(rocks, tmp_path):
    model = PairwiseModel(2, features=PatternFeatures(), orientation="any")
    own, other = tmp_path / "own.png", tmp_path / "other.png"
    Image.fromarray(np.rot90(rocks[5])).save(own)
    Image.fromarray(make_rocks(1, random_state=9)[0][0]).save(other)
    found, lost = (find_similar(model, rocks, path) for path in (own, other))
    assert found["same"].iloc[0] > 0.9
    assert lost["same"].iloc[0] < 0.5
    assert f"found: {rocks.keys[5]}, the best match, is" in found.attrs["notes"][1]
    assert lost.attrs["notes"][1].startswith("not found: ")
    assert "same" not in find_similar(model.set_params(rerank=None), rocks, own)


class Marble:
    """Takes every picture for marble."""

    image_shape_ = (20, 20, 3)
    classes_ = np.array(["gneiss", "marble"])

    def predict_proba(self, X):
        assert X.shape[1:] == self.image_shape_
        return np.tile([0.25, 0.75], (len(X), 1))


def test_within_the_class_that_a_classifier_tells(rocks, draw):
    path, model = draw("photo.png", size=(50, 90)), PairwiseModel(30)
    found = find_similar(model, rocks, path, within_class=Marble())
    assert sorted(found.index) == sorted(rocks.keys[rocks.labels == "marble"])
    assert "classified as marble (probability 0.75)" in found.attrs["notes"]
    of_gneiss = {"label": "gneiss"}
    both = "has label=gneiss, and the class 'marble', which the model took photo.png"
    with pytest.raises(ValueError, match=both):
        find_similar(model, rocks, path, of_gneiss, within_class=Marble())


def test_a_class_that_the_collection_lacks(rocks, draw, monkeypatch):
    path = draw("photo.png", size=(50, 90))
    monkeypatch.setattr(Marble, "classes_", np.array(["gneiss", "basalt"]))
    with pytest.raises(ValueError, match="No picture of") as error:
        find_similar(PairwiseModel(), rocks, path, within_class=Marble())
    assert str(error.value) == (
        "No picture of rocks.h5 has the class 'basalt', which the model took photo.png "
        f"for; the collection's classes are {', '.join(rocks.classes)}."
    )
