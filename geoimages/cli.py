"""The command line: each command parses, calls the library and prints."""

import json
import sys
from pathlib import Path

import click
import pandas as pd

from .classify import classify_files, evaluate_classifier, train_classifier
from .cluster import KMeansModel
from .demo import run_demo
from .distance import PairwiseModel
from .persist import load, save
from .similarity import find_similar
from .store import Collection
from .visualize import Plots, save_figure, suggest_elbow

_COLLECTION = click.argument("collection", metavar="ROCKS.H5", type=click.Path())


class _Clusters(click.ParamType):
    """Numbers of clusters: 1-10 or 2,4,8."""

    name = "clusters"

    def convert(self, value, param, ctx):
        try:
            first, dash, last = value.partition("-")
            if dash:
                numbers = list(range(int(first), int(last) + 1))
            else:
                numbers = [int(number) for number in value.split(",")]
        except ValueError:
            numbers = []
        if not numbers or min(numbers) < 1:
            self.fail(f"{value!r} is no range such as 1-10 nor a list such as 2,4,8.")
        return numbers


def _parse_where(ctx, param, values):
    """Turn ('hole=BH12', 'hole=BH13') into {'hole': ['BH12', 'BH13']}."""
    pairs = [value.partition("=") for value in values]
    for (name, equals, _), value in zip(pairs, values, strict=True):
        if not (name and equals):
            raise click.BadParameter(f"{value!r} is not COLUMN=VALUE.", ctx, param)
    return {
        name: [value for other, _, value in pairs if other == name]
        for name, _, _ in pairs
    }


def _print_table(table, form):
    """Print a table for people, or as JSON or CSV for programs."""
    if form == "json":
        click.echo(table.to_json(orient="records", indent=2, force_ascii=False))
    elif form == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    else:
        click.echo(table.to_string(index=False, float_format="{:.4f}".format))


def _format_options(command):
    """Add --json and --csv."""
    command = click.option(
        "--csv", "form", flag_value="csv", help="Print comma-separated values."
    )(command)
    return click.option("--json", "form", flag_value="json", help="Print JSON.")(
        command
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="geoimages")
def cli():
    """Tell what rock a picture shows, and where else its pattern occurs."""


@cli.command()
@click.option(
    "--output",
    default="demo",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder to write to.",
)
@click.option(
    "--source", type=click.Path(), help="A zip or folder of your own instead."
)
def demo(output, source):
    """Show the main job on a drawn sample, or on your own pictures."""
    run_demo(output, source, echo=click.echo)


@cli.command()
@click.argument("source", type=click.Path())
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    help="The .h5 file.",
)
@click.option(
    "--size", nargs=2, type=int, metavar="H W", help="Bring all pictures to one size."
)
@click.option(
    "--fit",
    type=click.Choice(["crop", "pad", "stretch"]),
    default="crop",
    show_default=True,
    help="What --size does to another aspect ratio.",
)
@click.option("--alpha", is_flag=True, help="Keep transparency as the rock's mask.")
@click.option("--rotate", is_flag=True, help="Store copies turned by 90, 180, 270°.")
@click.option(
    "--sample", type=float, default=1.0, metavar="P", help="Share of each class, 0–1."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample.")
@click.option(
    "--metadata",
    type=click.Path(),
    metavar="CSV",
    help="A table with a column 'file' and any others (label, hole, depth_from, …).",
)
def etl(source, output, size, fit, alpha, rotate, sample, seed, metadata):
    """Read a zip or folder of class folders into one .h5 file."""
    rocks = Collection.create(
        output,
        source,
        size=size,
        fit=fit,
        alpha=alpha,
        rotate=rotate,
        sample=sample,
        random_state=seed,
        metadata=metadata,
    )
    with rocks:
        click.echo(rocks.summary())


@cli.command()
@_COLLECTION
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(collection, as_json):
    """Say what a collection holds, and what became of every file."""
    with Collection(collection) as rocks:
        if as_json:
            click.echo(json.dumps(rocks.summary(as_dict=True), indent=2))
        else:
            click.echo(rocks.summary())


@cli.command()
@_COLLECTION
@click.argument("candidate", metavar="PICTURE|KEY")
@click.option("-k", "k", type=int, default=12, show_default=True, help="How many.")
@click.option(
    "--model",
    "model_name",
    type=click.Choice(["pairwise", "kmeans"]),
    default="pairwise",
    show_default=True,
    help="Search all pictures, or the nearest clusters.",
)
@click.option(
    "--metric",
    metavar="M",
    default="correlation",
    show_default=True,
    help="Any distance of scipy's cdist, by name.",
)
@click.option(
    "--clusters", type=int, default=3, show_default=True, help="Of the kmeans model."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of k-means.")
@click.option(
    "--where",
    multiple=True,
    callback=_parse_where,
    metavar="COLUMN=VALUE",
    help="Search only these pictures; of several for a column any will do.",
)
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the matches.")
@_format_options
def similar(
    collection, candidate, k, model_name, metric, clusters, seed, where, plot, form
):
    """Find the pictures most like a picture file or a key."""
    if model_name == "kmeans":
        model = KMeansModel(clusters, k, metric, random_state=seed)
    else:
        model = PairwiseModel(k, metric)
    with Collection(collection) as rocks:
        matches = find_similar(model, rocks, candidate, where)
        if plot:
            shown = candidate if candidate in rocks else rocks.read(candidate)
            save_figure(Plots.plot_matches(matches, rocks, shown), plot)
        about = rocks.table.loc[matches.index].drop(
            columns=["sha256", "ledger_row", "turn", "lineage"], errors="ignore"
        )
        table = matches.merge(
            about,
            how="left",
            left_index=True,
            right_index=True,
            suffixes=("", "_metadata"),
        ).reset_index()
    _print_table(table, form)
    if plot:
        click.echo(f"Drew {plot}", err=True)


@cli.command()
@_COLLECTION
@click.option(
    "--clusters",
    type=_Clusters(),
    default="1-10",
    show_default=True,
    help="Numbers of clusters to try.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of k-means.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the curve.")
@_format_options
def elbow(collection, clusters, seed, plot, form):
    """Show how the k-means inertia falls with the number of clusters."""
    with Collection(collection) as rocks:
        model = KMeansModel(num_clusters=1, random_state=seed).fit(rocks)
        inertias = model.model_inertias(clusters)
    _print_table(pd.DataFrame({"clusters": clusters, "inertia": inertias}), form)
    best = suggest_elbow(clusters, inertias)
    if best is not None:
        click.echo(f"Suggested: {best} clusters.", err=form is not None)
    if plot:
        save_figure(Plots.elbow_plot(clusters, inertias), plot)
        click.echo(f"Drew {plot}", err=True)


@cli.command()
@_COLLECTION
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    help="The model file, .skops by custom.",
)
@click.option(
    "--split",
    type=click.Path(),
    metavar="CSV",
    help="Columns key and split: learn from 'train', test on the rest.",
)
@click.option(
    "--holdout",
    "share",
    type=float,
    default=0.15,
    show_default=True,
    help="Without --split, the share of each class to test on.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything.")
def train(collection, output, split, share, seed):
    """Train a classifier and score it on pictures that it has not seen."""
    with Collection(collection) as rocks:
        model, scores, keys = train_classifier(
            rocks, split=split, share=share, random_state=seed
        )
    save(model, output, scores, keys)
    click.echo(f"{', '.join(model.classes_)} in {output}")
    for name, value in scores.items():
        click.echo(f"  {name.replace('_', ' ')}: {value:.4g}")


@cli.command()
@click.argument("model", metavar="MODEL.SKOPS", type=click.Path())
@click.argument("pictures", metavar="PICTURE...", nargs=-1, required=True)
@_format_options
def classify(model, pictures, form):
    """Tell the class of pictures, how probable it is, and how new they are."""
    table = classify_files(load(model), pictures)
    _print_table(table, form)
    if (table["class"] == "").all():
        raise click.ClickException("None of the pictures could be read.")


@cli.command()
@click.argument("model", metavar="MODEL.SKOPS", type=click.Path())
@_COLLECTION
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
    """Score a model: each class, its probabilities, and disturbed pictures."""
    model = load(model)
    with Collection(collection) as rocks:
        report = evaluate_classifier(model, rocks, split)
    y, proba = report.pop("y"), report.pop("proba")
    del report["keys"]
    if as_json:
        tables = ("classes", "disturbances")
        report |= {name: report[name].to_dict("index") for name in tables}
        click.echo(json.dumps(report, indent=2, default=float))
    else:
        click.echo(f"On {report['on']}.")
        click.echo(f"accuracy {report['accuracy']:.4f}")
        click.echo(f"calibration error {report['calibration_error']:.4f}")
        for name in ("classes", "disturbances"):
            table = report[name].to_string(float_format="{:.4f}".format)
            click.echo(f"\n{table}")
    if plot:
        Path(plot).mkdir(parents=True, exist_ok=True)
        predicted = model.classes_[proba.argmax(axis=1)]
        figures = {
            "confusion.png": Plots.confusion_matrix(y, predicted),
            "reliability.png": Plots.reliability(y, proba, model.classes_),
        }
        for name, figure in figures.items():
            save_figure(figure, Path(plot) / name)
            click.echo(f"Drew {Path(plot) / name}", err=True)


# What click 8.2 and later raise for a command without arguments; earlier ones print.
_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())


def _complain(text):
    """Say in one line on stderr what is wrong."""
    click.echo(f"Error: {' '.join(str(text).split())}", err=True)


def main(argv=None):
    """Run a command and return its exit code.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    code : int
        0, or 2 after a mistake of the user, which is said in one line on stderr.
    """
    try:
        return cli.main(args=argv, prog_name="geoimages", standalone_mode=False) or 0
    except click.ClickException as error:
        if isinstance(error, _HELP):
            error.show()
        else:
            _complain(error.format_message())
        return 2
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        return 0
    except (ValueError, KeyError, TypeError, OSError) as error:
        _complain(error.args[0] if isinstance(error, KeyError) else error)
        return 2
