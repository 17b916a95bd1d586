"""Commands for large photographs: cut into tiles, search inside."""

import click

import geoimages as gi

from .group import cli
from .options import (
    LABEL,
    MAX_PIXELS,
    format_options,
    keep_options,
    metadata_option,
    open_keeping,
    output_option,
)
from .printing import echo, print_table
from .shorthands import make_model

TILES = click.argument("tiles", metavar="TILES.H5", type=click.Path())


class Scales(click.ParamType):
    """Numbers such as 1,2."""

    name = "scales"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 1,2.", param, ctx)


@cli.command("tile")
@click.argument("photos", nargs=-1, required=True, type=click.Path())
@output_option("The .h5 file.")
@click.option(
    "--size",
    default="96",
    show_default=True,
    metavar="PX|LENGTH",
    help="Side of a tile: pixels, or a length such as 5cm.",
)
@click.option(
    "--stride",
    type=float,
    default=0.5,
    show_default=True,
    help="Distance of neighboring tiles, as a share of their side.",
)
@click.option(
    "--scales",
    type=Scales(),
    default="1,2",
    show_default=True,
    help="Sizes of the windows, as multiples of --size.",
)
@click.option("--keep-all", is_flag=True, help="Keep tiles of gaps and tray, too.")
@metadata_option("A table with a column 'file' and any others (hole, mm_per_px, …).")
@LABEL
@click.option("--mm-per-px", type=float, metavar="MM", help="Scale of all photographs.")
@MAX_PIXELS
@click.option(
    "--plot",
    type=click.Path(dir_okay=False),
    help="Draw what of the first photograph is taken for rock.",
)
def tile(photos, output, plot, **options):
    """Cut large photographs into a collection of tiles."""
    with gi.Collection.from_tiles(output, list(photos), **options) as rocks:
        echo(rocks.summary())
        if plot:
            first = rocks.table.iloc[0]
            side = int(rocks.table["width"].min())
            figure = gi.Plots.tiles(gi.read_image(first["source"]), side)
            gi.visualize.save_figure(figure, plot)
            echo(f"Drew {plot}", err=True)


@cli.command()
@TILES
@click.argument("picture", required=False, type=click.Path())
@click.option("-k", "k", type=int, default=5, show_default=True, help="How many.")
@click.option(
    "--from",
    "photo",
    type=click.Path(),
    metavar="PHOTO",
    help="Search for a part of this photograph, which is then left out itself.",
)
@click.option(
    "--box", type=int, nargs=4, metavar="X Y W H", help="The part, in pixels."
)
@keep_options
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the answers.")
@format_options
def locate(tiles, picture, k, photo, box, keep, cache_size, plot, form):
    """Find where in the photographs a picture occurs."""
    if (picture is None) == (photo is None) or (photo is None) != (box is None):
        raise click.UsageError(
            "give a picture, or a part of a photograph: --from PHOTO --box X Y W H."
        )
    if photo is None:
        asked, left_out = gi.read_image(picture), None
    else:
        asked, left_out = gi.read_box(photo, box)
    model = make_model("pairwise", "pattern")
    with open_keeping(tiles, keep, cache_size) as rocks:
        matches = gi.locate(model, rocks, asked, k, left_out=left_out)
        if plot:
            figure = gi.Plots.boxes(matches, rocks, asked)
            gi.visualize.save_figure(figure, plot)
    shown = matches if form else matches.dropna(axis=1, how="all")
    print_table(shown, form)
    if not matches["found"].any():
        echo("Not found: no place counts as the same.", err=True)
    if plot:
        echo(f"Drew {plot}", err=True)
