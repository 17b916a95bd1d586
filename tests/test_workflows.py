"""Train, classify and evaluate on files, in Python and from the shell."""

import contextlib
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator

from geoimages import (
    Collection,
    ConvNetClassifier,
    PairwiseModel,
    blind_trials,
    classify_files,
    evaluate_classifier,
    holdout,
    load,
    make_rocks,
    record_votes,
    save,
    train_classifier,
    write_rocks,
)
from geoimages.cli import main
from geoimages.cli.verifying import verify_file
from geoimages.search import save_index

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
    return train_classifier(rocks, clone(QUICK))[0]


def test_holdout_takes_a_share_of_each_class(rocks):
    train, test = holdout(rocks, share=0.25, random_state=0)
    assert len(train) == 180
    assert not set(train) & set(test)
    counts = pd.Series(rocks.labels[test]).value_counts()
    assert (counts == 10).all()
    assert (holdout(rocks, share=0.25, random_state=1)[1] != test).any()


def test_rotated_copies_stay_on_one_side(rocks, tmp_path):
    images = np.concatenate([rocks[:60], np.rot90(rocks[:60], axes=(1, 2))])
    keys = [*rocks.keys[:60], *(f"{key}.90" for key in rocks.keys[:60])]
    labels = np.tile(rocks.labels[:60], 2)
    rotated = Collection.from_arrays(tmp_path / "a.h5", images, labels, keys)
    train, test = holdout(rotated, share=0.3)
    lineage = rotated.table["lineage"].to_numpy()
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
    model, scores, keys = train_classifier(rocks, clone(QUICK), share=0.25)
    test = [rocks.position(key) for key in keys]
    assert scores["accuracy"] == model.score(rocks[test], rocks.labels[test])
    assert scores["test_pictures"] == 60
    assert scores["train_pictures"] == 180
    assert scores["accuracy"] > 0.5
    assert scores["log_loss"] > 0
    assert scores["largest_class_accuracy"] == pytest.approx(1 / 6)
    regression = model.baselines_["logistic_regression"]
    right = regression.predict(model._rows(rocks[test])) == rocks.labels[test]
    assert scores["logistic_regression_accuracy"] == right.mean() > 0.5


def test_any_classifier_is_scored_beside_baselines(rocks):
    class Guess(DummyClassifier):
        def fit(self, X, y):
            self.image_shape_ = X.shape[1:]
            return super().fit(X, y)

    model, scores, _ = train_classifier(rocks, Guess(strategy="prior"))
    assert scores["accuracy"] == scores["largest_class_accuracy"]
    assert scores["logistic_regression_accuracy"] > 0.5
    table = evaluate_classifier(model, rocks)["baselines"]
    assert table.loc["logistic_regression", "accuracy"] == pytest.approx(
        scores["logistic_regression_accuracy"]
    )


COLUMNS = ["picture", "class", "probability", "novelty", "note"]
MORE_COLUMNS = ["class_2", "probability_2", "class_3", "probability_3"]


def test_files_of_any_size_and_kind_are_classified(model, rocks, draw, tmp_path):
    same = draw("same.png")
    large = draw("large.jpg", size=(90, 120))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    table = classify_files(model, [broken, same, large, tmp_path / "gone.jpg"])
    assert table.columns.tolist() == [*COLUMNS, *MORE_COLUMNS]
    assert table["picture"].tolist() == [
        str(path) for path in (broken, same, large, tmp_path / "gone.jpg")
    ]
    table.index = ["broken", "same", "large", "gone"]
    read, unread = table.loc[["same", "large"]], table.loc[["broken", "gone"]]
    assert set(read["class"]) <= set(model.classes_)
    assert read["probability"].between(1 / 6, 1).all()
    assert (unread[["class", "class_2", "class_3"]] == "").all(axis=None)
    assert "resized from 90 × 120 to 28 × 28" in table.loc["large", "note"]
    assert unread["note"]["broken"].startswith("no known picture format (not-a-pict")
    assert "no such file" in unread["note"]["gone"]


def test_the_three_most_probable_classes_are_named(model, rocks):
    table = classify_files(model, [rocks])
    proba = model.predict_proba(rocks[:])
    order = np.argsort(-proba, axis=1)
    for place, suffix in enumerate(("", "_2", "_3")):
        assert table[f"class{suffix}"].tolist() == list(model.classes_[order[:, place]])
        np.testing.assert_array_equal(
            table[f"probability{suffix}"], -np.sort(-proba, axis=1)[:, place]
        )
    two = clone(QUICK).set_params(augment=None)
    few = np.isin(rocks.labels, ["marble", "schist"])
    two.fit(rocks[few], rocks.labels[few])
    columns = classify_files(two, [rocks]).columns.tolist()
    assert columns == [*COLUMNS, "class_2", "probability_2"]


def test_folders_and_collections_are_classified(model, rocks, draw, tmp_path):
    paths = [draw(f"photos/{name}.png", seed=i) for i, name in enumerate("ba")]
    (tmp_path / "photos" / "notes.txt").write_text("a rock")
    table = classify_files(model, [rocks.path, tmp_path / "photos", paths[0]])
    assert table["picture"].tolist() == [
        *rocks.keys,
        str(paths[1]),
        str(paths[0]),
        str(paths[0]),
    ]
    assert table["class"].tolist()[:240] == model.predict(rocks[:]).tolist()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no pictures"):
        classify_files(model, [tmp_path / "empty"])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_files_are_fitted_as_the_collection_was(fit, draw, tmp_path):
    for i in range(8):
        draw(f"rocks/{'ab'[i % 2]}/{i}.png", size=(40, 70), seed=i)
    source = tmp_path / "rocks"
    with Collection.create(tmp_path / "a.h5", source, size=(28, 28), fit=fit) as rocks:
        model = clone(QUICK).set_params(augment=None)
        model = train_classifier(rocks, model, share=0.25)[0]
        save(model, tmp_path / "model.skops")
        loaded = load(tmp_path / "model.skops")
        table = classify_files(
            loaded, [source / path for path in rocks.table["source"]]
        )
        np.testing.assert_allclose(
            table["probability"], model.predict_proba(rocks[:]).max(axis=1)
        )
        assert clone(QUICK).set_params(augment=None).fit(rocks).picture_fit_ == fit
    note = "resized from 40 × 70 to 28 × 28" + ("" if fit == "crop" else f" ({fit})")
    assert table["note"].str.endswith(note).all()


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
    with pytest.raises(ValueError, match="32 × 32 × 3, the .* with --size 28 28\\.$"):
        evaluate_classifier(model, other)
    rgba = np.full((2, 28, 28, 4), 255, np.uint8)
    other = Collection.from_arrays(tmp_path / "b.h5", rgba, ["marble", "schist"])
    with pytest.raises(ValueError, match="create the collection without --alpha"):
        evaluate_classifier(model, other)


def test_evaluation_says_on_what(model, rocks):
    plain = clone(QUICK).fit(rocks[:], rocks.labels)
    report = evaluate_classifier(plain, rocks)
    assert "may have been trained on some" in report["on"]
    assert report["accuracy"] == plain.score(rocks[:], rocks.labels)
    assert report["baselines"].empty
    split = pd.DataFrame({"key": rocks.keys, "split": "dev"})
    split.loc[:200, "split"] = "train"
    report = evaluate_classifier(plain, rocks, split)
    assert report["on"] == "39 pictures: the split's pictures"
    # Of a model without a record, they are learned from the split's training part.
    assert list(report["baselines"].index) == ["logistic_regression", "largest_class"]
    report = evaluate_classifier(model, rocks, split)
    learned = 39 - np.isin(np.arange(201, 240), holdout(rocks)[1]).sum()
    assert report["on"].endswith(f"; the model was trained on {learned} of them")


def test_what_was_learned_from_is_told_by_content(model, rocks, tmp_path):
    train, test = holdout(rocks)
    new, labels = make_rocks(12, random_state=9)
    # The keys of pictures held out in training, but other pictures.
    foreign = Collection.from_arrays(
        tmp_path / "a.h5", new, labels, rocks.keys[test[:12]]
    )
    report = evaluate_classifier(model, foreign)
    assert report["on"] == "12 pictures: 0 held out in training, 12 new to the model"
    assert report["left_out"] == ""
    # Pictures that were learned from, rotated and under other keys.
    images = np.concatenate(
        [np.rot90(rocks[train[:9]], axes=(1, 2)), rocks[test[:3]], new]
    )
    labels = [*rocks.labels[train[:9]], *rocks.labels[test[:3]], *labels]
    mixed = Collection.from_arrays(tmp_path / "b.h5", images, labels)
    report = evaluate_classifier(model, mixed)
    assert report["on"] == "15 pictures: 3 held out in training, 12 new to the model"
    assert report["left_out"] == "9 pictures that the model was trained on"
    assert report["keys"].tolist() == mixed.keys[9:].tolist()
    learned = Collection.from_arrays(tmp_path / "c.h5", images[:9], labels[:9])
    with pytest.raises(ValueError, match="trained on all 9 labeled pictures of c"):
        evaluate_classifier(model, learned)


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
    assert (
        report["baselines"].loc["logistic_regression", "accuracy"]
        == (model.about_["scores"]["logistic_regression_accuracy"])
    )


@pytest.mark.parametrize("command", ["train", "learn"])
def test_features_to_learn_from_are_chosen(rocks, tmp_path, capsys, command):
    few = Collection.from_arrays(tmp_path / "a.h5", rocks[:60], rocks.labels[:60])
    path = tmp_path / "model.skops"
    argv = [command, str(few.path), "-o", str(path), "--features"]
    assert main([*argv, "texture"]) == 0
    model = load(path)
    features = model.features_ if command == "train" else model[0]
    assert list(features.blocks_) == ["texture", "conv"]
    capsys.readouterr()
    assert main([*argv, "pixels"]) == 2
    said = capsys.readouterr().err
    assert "expected one of color, texture, rock, pattern, rock+network, or" in said
    assert main([*argv, "rock", "--preset", "resnet50"]) == 2
    assert "'rock' is not one" in capsys.readouterr().err


def test_labels_of_a_page_are_learned(rocks, tmp_path, capsys):
    csv = tmp_path / "labels.csv"
    names = "\n".join(f"{key},of the page" for key in rocks.keys[::2])
    csv.write_text(f"file,label\n{names}\n", encoding="utf-8")
    model, _, _ = train_classifier(rocks, clone(QUICK), labels=csv)
    assert "of the page" in model.classes_
    output = tmp_path / "model.skops"
    code = main(["train", str(rocks.path), "-o", str(output), "--labels", "none.csv"])
    assert code == 2
    assert "No labels at none.csv" in capsys.readouterr().err


def test_the_shell_says_what_is_not_calibrated(rocks, draw, tmp_path, capsys):
    few = Collection.from_arrays(tmp_path / "a.h5", rocks[::6], rocks.labels[::6])
    path = str(tmp_path / "model.skops")
    said = "Too few pictures to calibrate the probabilities"
    assert main(["train", str(few.path), "-o", path]) == 0
    assert said in capsys.readouterr().err
    assert main(["classify", path, str(draw("a.png"))]) == 0
    assert said in capsys.readouterr().err


def test_classify_from_the_shell(trained, draw, tmp_path, capsys):
    paths = [str(draw(f"{i}.png", seed=i)) for i in range(3)]
    assert main(["classify", str(trained), *paths, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["picture"] for record in records] == paths
    assert list(records[0]) == [*COLUMNS, *MORE_COLUMNS]
    assert main(["classify", str(trained), *paths]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["classify", str(trained), "gone.jpg", paths[0]]) == 2
    captured = capsys.readouterr()
    assert "1 of 2 pictures could not be read" in captured.err
    assert paths[0] in captured.out
    assert main(["classify", str(tmp_path / "no.skops"), paths[0]]) == 2


def test_an_embedding_is_learned_from_the_shell(rocks, tmp_path, capsys):
    path = tmp_path / "embedding.skops"
    assert main(["learn", str(rocks.path), "-o", str(path), "--holdout", "0.2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Embedding of 128 columns in {path}")
    assert "precision at 5:" in out
    embedding = load(path)
    assert len(embedding.about_["test_keys"]) == 48
    scores = embedding.about_["scores"]
    assert scores["precision_at_5"] > scores["precision_at_5_before"]
    held = [rocks.position(key) for key in embedding.about_["test_keys"]]
    stored = np.setdiff1d(np.arange(240), held)
    similar = PairwiseModel(5, "cosine", FrozenEstimator(embedding))
    similar.fit(rocks[stored], rocks.labels[stored])
    assert similar.score(rocks[held], rocks.labels[held]) == pytest.approx(
        scores["precision_at_5"], abs=0.01
    )


def test_evaluate_from_the_shell(rocks, trained, tmp_path, capsys):
    plots = tmp_path / "plots"
    argv = ["evaluate", str(trained), str(rocks.path)]
    assert main([*argv, "--plot", str(plots)]) == 0
    out = capsys.readouterr().out
    assert "48 pictures: the pictures held out" in out
    assert "Left out: 192 pictures that the model was trained on." in out
    assert "JPEG 30" in out
    assert "logistic regression accuracy 0." in out
    assert "largest class accuracy 0.1667" in out
    assert "recall" in out
    assert sorted(path.name for path in plots.iterdir()) == [
        "confusion.png",
        "reliability.png",
    ]
    assert main([*argv, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["disturbances"]["worst"]["accuracy"] <= report["accuracy"]
    assert report["baselines"]["largest_class"]["accuracy"] == pytest.approx(1 / 6)


def test_files_of_every_kind_are_verified_by_their_content(tmp_path, pictures):
    images, labels = pictures
    path = tmp_path / "any name"

    def write_votes():
        keys = [str(i) for i in range(9)]
        rows = pd.DataFrame(images[:9].reshape(9, -1), index=keys)
        models = {m: PairwiseModel(3, m).fit(rows) for m in ("cosine", "cityblock")}
        record_votes(path, blind_trials(models, keys, n_trials=3, random_state=0))

    model = PairwiseModel(3).fit(images[:20])
    for write in (
        lambda: Collection.from_arrays(path, images[:20], labels[:20]).close(),
        lambda: save(model, path),
        lambda: save_index(model.search_, path),
        write_votes,
    ):
        write()
        assert verify_file(path) == []
        data = bytearray(path.read_bytes())
        third = len(data) // 3
        data[third : 2 * third] = bytes(third)
        path.write_bytes(data)
        with contextlib.suppress(ValueError, OSError):
            assert verify_file(path)
        path.unlink()
    with pytest.raises(FileNotFoundError, match="No file at"):
        verify_file(path)
