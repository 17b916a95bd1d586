"""Commands that train, apply and evaluate models learned from labels."""

import json
from pathlib import Path

import click

import geoimages as gi

from .group import cli
from .options import COLLECTION, PRESET, Features, format_options, jobs_options
from .printing import echo, print_table
from .shorthands import FEATURES, make_features

# Pixels of photographs are too many to learn from, and a saved model learned already.
_TO_LEARN_FROM = tuple(name for name in FEATURES if name != "pixels")


def _training_options(command):
    """Add the options of training with a held-out part."""
    for option in (
        PRESET,
        click.option(
            "--features",
            type=Features(_TO_LEARN_FROM, (".onnx",)),
            help="What to learn from: rock+network adds a pretrained network, for "
            "photographs (pip install 'geoimages[network]'); FILE is a network "
            "(net.onnx). By default rock, and for 'train' what pays beside it.",
        ),
        click.option(
            "--seed",
            type=int,
            default=0,
            show_default=True,
            help="Seed of split and training.",
        ),
        click.option(
            "--holdout",
            "share",
            type=float,
            default=0.15,
            show_default=True,
            help="Share of each class held out for testing, without --split.",
        ),
        click.option(
            "--split",
            type=click.Path(),
            metavar="CSV",
            help="Columns key and split: train on 'train', test on the rest.",
        ),
        click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(dir_okay=False),
            help="The model file, usually .skops.",
        ),
        COLLECTION,
    ):
        command = option(command)
    return command


def _features_of(name, preset):
    """The features to learn from; None for the model's own."""
    if name is None and preset is None:
        return None
    return make_features(name or "rock", preset=preset)


def load_classifier(path):
    """Load a model and refuse one that does not classify."""
    model = gi.load(path)
    if not hasattr(model, "predict_proba") or not hasattr(model, "novelty"):
        raise click.UsageError(
            f"{path} holds a {type(model).__name__}, which does not classify; give a "
            "model that 'geoimages train' made."
        )
    return model


def _warn_of_calibration(model):
    if not getattr(model, "is_calibrated_", True):
        click.echo(
            "Too few pictures to calibrate the probabilities: they are shrunk toward the "
            "shares of the classes, and may be wrong.",
            err=True,
        )


def _print_scores(scores):
    for name, value in scores.items():
        form = ",d" if isinstance(value, int) else ".4g"
        echo(f"  {name.replace('_', ' ')}: {value:{form}}")


@cli.command()
@_training_options
@click.option(
    "--labels",
    type=click.Path(),
    metavar="CSV",
    help="Columns file (or key) and label, as the page writes them: they replace the "
    "collection's labels.",
)
@jobs_options
def train(collection, output, split, share, seed, labels, features, preset):
    """Train a classifier and score it on held-out pictures.

    Beside its scores stand those of two baselines: a logistic regression on the same
    features of the same pictures, and the commonest class as the answer to everything.
    """
    features = _features_of(features, preset)
    with gi.Collection(collection) as rocks:
        model, scores, keys = gi.train_classifier(
            rocks,
            gi.ConvNetClassifier(features, random_state=seed),
            labels=labels,
            split=split,
            share=share,
            random_state=seed,
        )
    gi.save(model, output, scores, keys)
    echo(f"{', '.join(model.classes_)} in {output}")
    _print_scores(scores)
    _warn_of_calibration(model)


@cli.command()
@_training_options
@jobs_options
def learn(collection, output, split, share, seed, features, preset):
    """Train an embedding for similarity search from labels.

    The embedding is trained on features by the triplet loss. Its score is the precision
    of the five nearest neighbors, with the embedding and without.
    """
    features = _features_of(features, preset)
    with gi.Collection(collection) as rocks:
        model, scores, keys = gi.learn_embedding(
            rocks, features=features, split=split, share=share, random_state=seed
        )
    gi.save(model, output, scores, keys)
    echo(f"Embedding of {model[-1].n_components} columns in {output}")
    _print_scores(scores)


@cli.command()
@click.argument("model", metavar="MODEL.SKOPS", type=click.Path())
@click.argument("pictures", metavar="PICTURE...", nargs=-1, required=True)
@format_options
@jobs_options
def classify(model, pictures, form):
    """Print the three most probable classes of pictures, and their novelty.

    A PICTURE is a file, a folder or a collection.
    """
    model = load_classifier(model)
    table = gi.classify_files(model, pictures)
    print_table(table, form)
    _warn_of_calibration(model)
    for name, why in table.attrs["missing"].items():
        echo(f"Missing: the pictures of {name} ({why}).", err=True)
    unread = int((table["class"] == "").sum())
    if unread:
        raise click.ClickException(
            f"{unread:,} of {len(table):,} pictures could not be read; the notes say why."
        )


@cli.command()
@click.argument("model", metavar="MODEL.SKOPS", type=click.Path())
@COLLECTION
@click.option(
    "--split",
    type=click.Path(),
    metavar="CSV",
    help="Columns key and split: test on all but 'train'.",
)
@click.option(
    "--plot",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Draw the confusion matrix and the reliability curve.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(model, collection, split, plot, as_json):
    """Evaluate a classifier: accuracy, classes, calibration, corrupted pictures.

    Beside its scores stand those of two baselines: a logistic regression on the same
    features, and the commonest class as the answer to everything.
    """
    model = load_classifier(model)
    with gi.Collection(collection) as rocks:
        report = gi.evaluate_classifier(model, rocks, split)
    y, proba = report.pop("y"), report.pop("proba")
    del report["keys"]
    if as_json:
        tables = ("baselines", "classes", "disturbances")
        report |= {name: report[name].to_dict("index") for name in tables}
        echo(json.dumps(report, indent=2, default=float))
    else:
        echo(f"On {report['on']}.")
        if report["left_out"]:
            echo(f"Left out: {report['left_out']}.")
        echo(f"accuracy {report['accuracy']:.4f}")
        echo(f"calibration error {report['calibration_error']:.4f}")
        if report["depth"]:
            of = report["depth"]
            echo(
                f"per centimeter: macro-F1 {of['macro_f1']:.4f}, accuracy "
                f"{of['accuracy']:.4f}, on {of['centimeters']:,} cm of "
                f"{', '.join(of['holes'])}, none of which was learned from"
            )
        for name, row in report["baselines"].iterrows():
            for measure, value in row.items():
                echo(f"{name} {measure} {value:.4f}".replace("_", " "))
        for name in ("classes", "disturbances"):
            table = report[name].to_string(float_format="{:.4f}".format)
            echo(f"\n{table}")
    if plot:
        Path(plot).mkdir(parents=True, exist_ok=True)
        predicted = model.classes_[proba.argmax(axis=1)]
        figures = {
            "confusion.png": gi.Plots.confusion_matrix(y, predicted),
            "reliability.png": gi.Plots.reliability(y, proba, model.classes_),
        }
        for name, figure in figures.items():
            gi.visualize.save_figure(figure, Path(plot) / name)
            echo(f"Drew {Path(plot) / name}", err=True)
