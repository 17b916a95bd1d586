"""The command that logs core down the hole."""

from pathlib import Path

import click

import geoimages as gi

from ..collection.text import to_csv
from ..files import atomic_path
from .classes import load_classifier
from .group import cli
from .locating import TILES
from .options import jobs_options, parse_where
from .printing import echo, print_table
from .shorthands import make_model


@cli.command("log")
@TILES
@click.option(
    "--like", type=click.Path(), metavar="PICTURE", help="Log similarity to it."
)
@click.option(
    "--model",
    "classifier",
    type=click.Path(),
    metavar="MODEL.SKOPS",
    help="Log its classes and their probabilities.",
)
@click.option(
    "--features",
    default="rock",
    show_default=True,
    help="With --like: what to compare, as of 'geoimages similar'.",
)
@click.option(
    "--window",
    type=float,
    default=0.1,
    show_default=True,
    help="Length over which values are averaged, in meters.",
)
@click.option("--step", type=float, help="Interval of the log; default half a window.")
@click.option(
    "--where",
    multiple=True,
    callback=parse_where,
    metavar="COLUMN=VALUE",
    help="Only these tiles: hole=BH12, depth=10..14.",
)
@click.option(
    "--intervals",
    type=click.Path(),
    metavar="CSV",
    help="Columns from, to (and hole): sum up the log over these intervals.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="The CSV with the log, or with --intervals of these.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False),
    help="Draw core and log along depth; .pdf holds all pages in one file.",
)
@click.option(
    "--page", type=float, metavar="METERS", help="Meters on a page; default 10."
)
@jobs_options
def log(tiles, like, classifier, features, where, intervals, output, plot, page, **of):
    """Log down the hole how similar the core is to a picture, or its class.

    Without -o, the table is printed as CSV: hole, from, to, values.
    """
    if (like is None) == (classifier is None):
        raise click.UsageError("give --like PICTURE, or --model MODEL.SKOPS.")
    with gi.Collection(tiles) as rocks:
        if like is not None:
            model = make_model("pairwise", features, orientation="any")
            table = gi.log_core(
                rocks, gi.read_image(like), model=model, where=where, **of
            )
        else:
            model = load_classifier(classifier)
            table = gi.log_core(rocks, model=model, where=where, **of)
        shown = gi.coverage(table, intervals) if intervals else table
        if output:
            with atomic_path(output) as temporary:
                to_csv(shown.round(6), path_or_buf=temporary, index=False)
            echo(f"{len(shown):,} intervals in {output}", err=True)
        else:
            print_table(shown, "csv")
        if plot:
            holes = sorted(table["hole"].unique())
            pages = gi.Plots.strip(rocks, table, holes=holes, page=page)
            for path in gi.visualize.save_pages(pages, Path(plot)):
                echo(f"Drew {path}", err=True)
