"""Commands that make and look after a collection."""

import json

import click

from ..demo import run_demo
from ..store import Collection
from .group import cli
from .options import COLLECTION


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
@COLLECTION
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(collection, as_json):
    """Say what a collection holds, and what became of every file."""
    with Collection(collection) as rocks:
        if as_json:
            click.echo(json.dumps(rocks.summary(as_dict=True), indent=2))
        else:
            click.echo(rocks.summary())
