"""Each command with each of its arguments wrong in each way: one line, no traceback."""

import click
import numpy as np
import pytest
from PIL import Image

import geoimages as gi
from geoimages.cli import main
from geoimages.cli.group import cli

# The right arguments of each command; files are named by what they hold.
RIGHT = {
    "add": ["collection:collection", "sources:picture"],
    "cache": ["collection:collection"],
    "classify": ["model:model", "pictures:picture"],
    "compare": ["collection:collection"],
    "duplicates": ["collection:collection"],
    "elbow": ["collection:collection", "clusters=1-2"],
    "etl": ["source:zip", "output:new"],
    "evaluate": ["model:model", "collection:collection"],
    "export": ["collection:collection", "output:new", "form=parquet"],
    "info": ["collection:collection"],
    "learn": ["collection:collection", "output:new"],
    "ledger": ["collection:collection"],
    "locate": ["tiles:tiles", "picture:photo"],
    "log": ["tiles:core", "like:photo"],
    "map": ["collection:collection", "plot:new", "features=pixels"],
    "neighbors": ["collection:collection", "output:new"],
    "rows": ["photos:tray"],
    "shard": ["collection:collection", "output:new"],
    "similar": ["collection:collection", "candidate=a.0", "features=pixels"],
    "split": ["collection:collection", "output:new"],
    "tile": ["photos:photo", "output:new", "size=32"],
    "train": ["collection:collection", "output:new"],
    "verify": ["file:collection"],
    "vote": ["collection:collection", "path:new", "voter=me", "models=pairwise,color"],
    "votes": ["votes:votes"],
}
FILES = (
    "missing",
    "folder",
    "empty",
    "text",
    "picture",
    "collection",
    "model",
    "votes",
)
_EVERY = 6  # of some 1,300 cases, for the suite's sake
TEXTS = ("", "\0", "x" * 5000, "=1+1", "a\nb")
NUMBERS = ("-1", "0", "1" + "0" * 30, "nan", "inf", "-1e300", "x", "")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of each kind, by what they hold."""
    folder = tmp_path_factory.mktemp("absurd")
    images, labels = gi.make_rocks(12, random_state=0)
    labels = np.array(["a", "b"] * 6)
    keys = [f"{label}.{i}" for i, label in enumerate(labels)]
    made = {name: folder / name for name in ("missing", "folder", "empty", "text")}
    made["folder"].mkdir()
    made["empty"].touch()
    made["text"].write_text("key,split\nnobody,train\n")
    made["picture"] = folder / "picture.png"
    Image.fromarray(images[0]).save(made["picture"])
    made["zip"] = gi.write_rocks(folder / "rocks.zip", 12, random_state=0)
    made["collection"] = folder / "rocks.h5"
    made_of = {"labels": labels, "keys": keys}
    gi.Collection.from_arrays(made["collection"], images, **made_of).close()
    made["model"] = folder / "model.skops"
    gi.save(gi.PairwiseModel(2).fit(images), made["model"])
    with gi.Collection(made["collection"]) as rocks:
        models = {"x": gi.PairwiseModel(2), "y": gi.KMeansModel(2)}
        models = {name: model.fit(rocks) for name, model in models.items()}
        trials = gi.blind_trials(models, keys[:3], k=2, n_trials=2)
    made["votes"] = folder / "rocks.votes"
    gi.record_votes(made["votes"], trials)
    grain = np.random.default_rng(0).integers(90, 160, (64, 64, 1), np.uint8)
    made["photo"] = folder / "tray.png"
    Image.fromarray(grain.repeat(3, 2)).save(made["photo"])
    made["tiles"] = folder / "tiles.h5"
    gi.Collection.from_tiles(made["tiles"], made["photo"], size=32).close()
    made["tray"] = folder / "BH1_1_0_1.png"
    Image.fromarray(grain.repeat(3, 2)).save(made["tray"])
    rows = '{"rows": [[[4, 4], [60, 4], [60, 60], [4, 60]]]}'
    made["tray"].with_suffix(".rows.json").write_text(rows)
    made["core"] = folder / "core.h5"
    gi.tile_core(made["core"], made["tray"], size=32).close()
    return made


def value_of(given, files, tmp_path):
    name, _, value = given.partition("=")
    if not value and ":" in given:
        name, _, kind = given.partition(":")
        value = tmp_path / "new" if kind == "new" else files[kind]
    return name, str(value)


def wrong_values(parameter):
    if isinstance(parameter.type, click.Path):
        return [*(f":{kind}" for kind in FILES), *TEXTS[:3]]
    if parameter.type.name in ("integer", "float", "integer range", "float range"):
        return NUMBERS
    return [*(f":{kind}" for kind in FILES[:4]), *TEXTS, *NUMBERS[:3]]


def absurd():
    for name in RIGHT:
        command = cli.commands[name]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.is_flag:
                continue
            for i, wrong in enumerate(wrong_values(parameter)):
                yield pytest.param(
                    name, parameter, wrong, id=f"{name}-{parameter.name}-{i}"
                )


def arguments(name, files, tmp_path, parameter=None, wrong=None):
    """The command line, with one parameter replaced."""
    values = dict(value_of(given, files, tmp_path) for given in RIGHT[name])
    if parameter is not None:
        values[parameter.name] = (
            str(files[wrong[1:]]) if wrong.startswith(":") else wrong
        )
    argv = [name]
    for known in cli.commands[name].params:
        if known.name not in values:
            continue
        if getattr(known, "is_flag", False):
            argv += [known.opts[-1]] * (known.flag_value == values[known.name])
            continue
        given = [values.pop(known.name)] * max(1, known.nargs)
        argv += [known.opts[-1], *given] if isinstance(known, click.Option) else given
    return argv


@pytest.mark.parametrize(("name", "parameter", "wrong"), list(absurd())[::_EVERY])
def test_an_absurd_argument_is_one_line(
    name, parameter, wrong, files, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda text="": "q")
    argv = arguments(name, files, tmp_path, parameter, wrong)
    code = main(argv)
    err = capsys.readouterr().err
    assert code in (0, 2), err
    assert "Traceback" not in err
    if code:
        last = err.splitlines()[-1]
        assert last.startswith("Error: ")
        assert err.count("Error: ") == 1


def test_every_command_is_tried():
    # The demo takes long, and the page goes on until it is ended.
    assert {*RIGHT, "demo", "serve"} == {*cli.commands}
