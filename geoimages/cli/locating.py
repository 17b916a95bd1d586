"""Commands for large photographs: cut into tiles, search inside."""

from pathlib import Path

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


_MOST_DRAWN = 12  # photographs on one sheet


def _tell_depths(rocks):
    """Say which photographs have no depth, and where depths overlap or are missing."""
    from ..core.depth import gaps_and_overlaps
    from ..core.tiling import boxes_of

    table = rocks.table
    known = table.groupby("photo")["depth_from"].count() > 0
    if not known.all():
        names = ", ".join(known.index[~known][:5])
        echo(f"{(~known).sum()} of {len(known)} photographs have no depth: {names}")
    if known.any():
        found = gaps_and_overlaps(boxes_of(table))
        for line in found.itertuples():
            echo(
                f"{line.hole}: {line.what} of {line.meters:g} m from {line._3:g} to "
                f"{line.to:g} m ({line.after}, {line.before})"
            )


def _draw_rows(photos, plot):
    """Draw the rows of photographs."""
    shown = {
        Path(photo).name: (gi.read_image(photo), gi.tray_rows(photo))
        for photo in photos
    }
    gi.visualize.save_figure(gi.Plots.rows(shown), plot)
    echo(f"Drew {plot}", err=True)


@cli.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path())
@click.option("--again", is_flag=True, help="Find them anew, and replace the files.")
@MAX_PIXELS
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw them.")
@format_options
def rows(photos, again, max_pixels, plot, form):
    """Find the rows of core on photographs of trays.

    Their corners are written beside each photograph, as TRAY.rows.json, where they can
    be corrected; a file that is there is kept, and what it says is drawn.
    """
    import pandas as pd

    from ..collection.tiles import list_photographs

    lines, shown = [], {}
    for photo, _, _ in list_photographs(list(photos)):
        found = gi.tray_rows(photo, again=again, max_pixels=max_pixels)
        if len(shown) < _MOST_DRAWN:
            shown[photo.name] = photo, found
        for number, corners in enumerate(found.round(1), 1):
            lines.append((photo.name, number, *corners.ravel()))
    names = [f"{axis}{i}" for i in range(1, 5) for axis in "xy"]
    print_table(pd.DataFrame(lines, columns=["photo", "row", *names]), form)
    if plot:
        pictures = {
            name: (gi.read_image(photo, max_pixels=max_pixels), corners)
            for name, (photo, corners) in shown.items()
        }
        gi.visualize.save_figure(gi.Plots.rows(pictures), plot)
        echo(f"Drew {plot}", err=True)


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
@click.option(
    "--core",
    is_flag=True,
    help="The photographs are core trays: find their rows, straighten them, and tell "
    "the depth of each tile.",
)
@click.option(
    "--depths",
    type=click.Path(),
    metavar="CSV",
    help="With --core: columns photo, hole, from, to in meters (and row); otherwise "
    "photographs are named HOLE_BOX_FROM_TO.",
)
@click.option(
    "--beds",
    type=click.Path(),
    metavar="CSV",
    help="With --core: columns hole, from, to, label: the classes of tiles by depth.",
)
@click.option("--mm-per-px", type=float, metavar="MM", help="Scale of all photographs.")
@click.option(
    "--scale-bar",
    nargs=2,
    metavar="LENGTH PX",
    help="The same by a scale bar: its length, such as 10cm, and its pixels.",
)
@MAX_PIXELS
@click.option(
    "--plot",
    type=click.Path(dir_okay=False),
    help="Draw what of the first photograph is taken for rock.",
)
def tile(photos, output, plot, core, depths, beds, scale_bar, **options):
    """Cut large photographs into a collection of tiles.

    With --core, rows of trays are found, or read from the file beside the photograph that
    'geoimages rows' writes, and tiles are cut along them.
    """
    if (depths or beds) and not core:
        raise click.UsageError("--depths and --beds go with --core.")
    if scale_bar:
        if options["mm_per_px"] is not None:
            raise click.UsageError("give --mm-per-px or --scale-bar, not both.")
        options["mm_per_px"] = gi.collection.tiles.scale_of_bar(*scale_bar)
    if core:
        made = gi.tile_core(output, list(photos), depths, beds=beds, **options)
    else:
        made = gi.Collection.from_tiles(output, list(photos), **options)
    with made as rocks:
        echo(rocks.summary())
        if core:
            _tell_depths(rocks)
        if plot and core:
            _draw_rows(rocks.table["source"].unique()[:_MOST_DRAWN], plot)
        elif plot:
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
