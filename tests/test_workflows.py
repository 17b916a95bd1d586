"""Train, classify and evaluate on files, in Python and from the shell."""

import json

import numpy as np
import pandas as pd
import pytest

from geoimages import (
    Collection,
    ConvNetClassifier,
    classify_files,
    evaluate_classifier,
    holdout,
    load,
    make_rocks,
    train_classifier,
    write_rocks,
)
from geoimages.cli import main

QUICK = ConvNetClassifier(
    hidden_layer_sizes=(32, 16), n_copies=1, max_epochs=6, random_state=0
)


@pytest.fixture(scope="module")
def rocks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rocks")
    source = write_rocks(folder / "rocks.zip", 240, random_state=0)
    with Collection.create(folder / "rocks.h5", source) as rocks:
        yield rocks


@pytest.fixture(scope="module")
def model(rocks):
    return train_classifier(rocks, QUICK)[0]


def test_holdout_takes_a_share_of_each_class(rocks):
    train, test = holdout(rocks, share=0.25, random_state=0)
    assert len(train) == 180
    assert not set(train) & set(test)
    counts = pd.Series(rocks.labels[test]).value_counts()
    assert (counts == 10).all()
    assert (holdout(rocks, share=0.25, random_state=1)[1] != test).any()


def test_turned_copies_stay_on_one_side(rocks, tmp_path):
    images = np.concatenate([rocks[:60], np.rot90(rocks[:60], axes=(1, 2))])
    keys = [*rocks.keys[:60], *(f"{key}.90" for key in rocks.keys[:60])]
    labels = np.tile(rocks.labels[:60], 2)
    turned = Collection.from_arrays(tmp_path / "a.h5", images, labels, keys)
    train, test = holdout(turned, share=0.3)
    lineage = turned.table["lineage"].to_numpy()
    assert not set(lineage[train]) & set(lineage[test])


def test_a_split_file_says_who_learns(rocks, tmp_path):
    side = np.where(np.arange(240) % 3 == 0, "dev", "train")
    table = pd.DataFrame({"key": rocks.keys, "split": side})
    train, test = holdout(rocks, table)
    assert test.tolist() == list(range(0, 240, 3))
    table.iloc[:200].to_csv(tmp_path / "split.csv", index=False)
    train, test = holdout(rocks, tmp_path / "split.csv")
    assert max(train.max(), test.max()) < 200
    with pytest.raises(ValueError, match="columns 'key' and 'split', got a"):
        holdout(rocks, pd.DataFrame({"a": [1]}))
    with pytest.raises(ValueError, match=r"marks 240 pictures of rocks\.h5 as train"):
        holdout(rocks, table.assign(split="train"))


def test_nothing_to_learn_from(tmp_path):
    bare = Collection.from_arrays(tmp_path / "a.h5", make_rocks(6, random_state=0)[0])
    with pytest.raises(ValueError, match="No picture of a.h5 has a label"):
        train_classifier(bare)


def test_training_scores_on_what_was_not_seen(rocks):
    model, scores, keys = train_classifier(rocks, QUICK, share=0.25)
    test = [rocks.position(key) for key in keys]
    assert scores["accuracy"] == model.score(rocks[test], rocks.labels[test])
    assert scores["test_pictures"] == 60
    assert scores["train_pictures"] == 180
    assert scores["accuracy"] > 0.5
    assert scores["log_loss"] > 0


def test_files_of_any_size_and_kind_are_classified(model, rocks, draw, tmp_path):
    same = draw("same.png")
    large = draw("large.jpg", size=(90, 120))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    table = classify_files(model, [same, large, broken, tmp_path / "gone.jpg"])
    assert table.columns.tolist() == [
        "picture",
        "class",
        "probability",
        "novelty",
        "note",
    ]
    assert set(table["class"][:2]) <= set(model.classes_)
    assert table["probability"][:2].between(1 / 6, 1).all()
    assert table["class"][2:].tolist() == ["", ""]
    assert "resized from 90 × 120 to 28 × 28" in table["note"][1]
    assert table["note"][2].startswith("no known picture format (not-a-picture)")
    assert "no such file" in table["note"][3]


def test_a_picture_unlike_the_collection_says_so(model, tmp_path):
    from PIL import Image

    static = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    Image.fromarray(static).save(tmp_path / "cat.png")
    table = classify_files(model, [tmp_path / "cat.png"])
    assert table["novelty"][0] > 99
    assert table["note"][0] == "unlike the collection"


def test_evaluation_of_another_shape_is_refused(model, tmp_path):
    other = Collection.from_arrays(
        tmp_path / "a.h5", *make_rocks(6, image_shape=(32, 32, 3), random_state=0)
    )
    with pytest.raises(ValueError, match="32 × 32 × 3, the model was trained on 28"):
        evaluate_classifier(model, other)


def test_evaluation_says_on_what(model, rocks):
    report = evaluate_classifier(model, rocks)
    assert "may have learned from some" in report["on"]
    assert report["accuracy"] == model.score(rocks[:], rocks.labels)
    split = pd.DataFrame({"key": rocks.keys, "split": "dev"})
    split.loc[:200, "split"] = "train"
    report = evaluate_classifier(model, rocks, split)
    assert report["on"] == "39 pictures: the split's pictures"


@pytest.fixture(scope="module")
def trained(rocks, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.skops"
    assert main(["train", str(rocks.path), "-o", str(path), "--holdout", "0.2"]) == 0
    return path


def test_train_from_the_shell(rocks, trained, capsys):
    model = load(trained)
    assert model.about_["scores"]["test_pictures"] == 48
    assert model.about_["scores"]["accuracy"] > 0.75
    assert len(model.about_["test_keys"]) == 48
    report = evaluate_classifier(model, rocks)
    assert report["on"] == "48 pictures: the pictures held out in training"
    assert report["accuracy"] == model.about_["scores"]["accuracy"]


def test_classify_from_the_shell(trained, draw, tmp_path, capsys):
    paths = [str(draw(f"{i}.png", seed=i)) for i in range(3)]
    assert main(["classify", str(trained), *paths, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["picture"] for record in records] == paths
    assert set(records[0]) == {"picture", "class", "probability", "novelty", "note"}
    assert main(["classify", str(trained), *paths]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["classify", str(trained), "gone.jpg"]) == 2
    assert "None of the pictures could be read." in capsys.readouterr().err
    assert main(["classify", str(tmp_path / "no.skops"), paths[0]]) == 2


def test_evaluate_from_the_shell(rocks, trained, tmp_path, capsys):
    plots = tmp_path / "plots"
    argv = ["evaluate", str(trained), str(rocks.path)]
    assert main([*argv, "--plot", str(plots)]) == 0
    out = capsys.readouterr().out
    assert "48 pictures: the pictures held out" in out
    assert "JPEG 30" in out
    assert "recall" in out
    assert sorted(path.name for path in plots.iterdir()) == [
        "confusion.png",
        "reliability.png",
    ]
    assert main([*argv, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["disturbances"]["worst"]["accuracy"] <= report["accuracy"]
