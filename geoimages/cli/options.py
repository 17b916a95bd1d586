"""Options and printing that several commands share."""

import contextlib

import click

from .shorthands import FEATURES, MODELS, ORIENTATIONS, check_features, make_model

COLLECTION = click.argument("collection", metavar="ROCKS.H5", type=click.Path())


class Clusters(click.ParamType):
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


class Features(click.ParamType):
    """A name of features, or a file of them."""

    name = "features"

    def get_metavar(self, param, ctx=None):
        return f"[{'|'.join(FEATURES)}|FILE]"

    def convert(self, value, param, ctx):
        try:
            return check_features(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_where(ctx, param, values):
    """Turn ('hole=BH12', 'hole=BH13') into {'hole': ['BH12', 'BH13']}."""
    from ..collection.selection import Range, parse_condition

    where = {}
    for text in values:
        try:
            name, value = parse_condition(text)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None
        given = where.setdefault(name, [])
        if isinstance(value, Range) and given and isinstance(given[-1], Range):
            given[-1] = given[-1] & value  # both bounds hold
        else:
            given.append(value)
    return where


def print_table(table, form):
    """Print a table for people, or as JSON or CSV for programs."""
    if form == "json":
        click.echo(table.to_json(orient="records", indent=2, force_ascii=False))
    elif form == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    else:
        text = table.to_string(
            index=False,
            float_format="{:.4f}".format,
            formatters={"orientation": "{:.0f}°".format},
        )
        click.echo(text)


def format_options(command):
    """Add --json and --csv."""
    command = click.option(
        "--csv", "form", flag_value="csv", help="Print comma-separated values."
    )(command)
    return click.option("--json", "form", flag_value="json", help="Print JSON.")(
        command
    )


def features_options(default="pixels"):
    """Add --features and --preset."""
    features = click.option(
        "--features",
        type=Features(),
        default=default,
        show_default=True,
        help="What to compare: pattern finds the same pattern again, rotated or cropped; "
        "FILE is a saved model (model.skops) or a network (net.onnx).",
    )

    def decorate(command):
        return features(PRESET(command))

    return decorate


PRESET = click.option(
    "--preset",
    metavar="NAME",
    help="How the network of --features net.onnx takes its pictures, such as resnet50.",
)
COLOR = click.option(
    "--color",
    type=float,
    metavar="SHARE",
    help="Same color or same texture: 0 is texture only, 1 color only, of the rock or "
    "pattern features.",
)


class Bytes(click.ParamType):
    """A size: 500MB, 2GB or a number of bytes."""

    name = "size"

    def convert(self, value, param, ctx):
        if isinstance(value, int):
            return value
        digits = value.upper().removesuffix("B").rstrip("KMGT")
        unit = value.upper().removesuffix("B")[len(digits) :]
        try:
            return int(float(digits) * 1000 ** ("", "K", "M", "G", "T").index(unit))
        except ValueError:
            self.fail(f"{value!r} is no size such as 500MB or 2GB.")


def keep_options(command):
    """Add --keep and --cache-size, which `open_keeping` takes."""
    size = click.option(
        "--cache-size",
        type=Bytes(),
        default="1GB",
        show_default=True,
        help="Most that kept features take; what was used longest ago goes first.",
    )
    keep = click.option(
        "--keep/--no-keep",
        default=True,
        show_default=True,
        help="Keep features in a file beside the collection; the next run is quicker.",
    )
    return keep(size(command))


@contextlib.contextmanager
def open_keeping(path, keep, cache_size):
    """Open a collection, and say at the end what was kept of it."""
    import geoimages as gi

    with gi.Collection(path, "r+" if keep else "r", cache_size) as rocks:
        yield rocks
        for note in rocks.cache.notes:
            click.echo(note, err=True)


def model_options(features):
    """Add the options that choose a similarity model; `features` by default."""
    options = (
        click.option(
            "--model",
            "name",
            type=click.Choice(MODELS),
            default="pairwise",
            show_default=True,
            help="Search all pictures, or the nearest clusters.",
        ),
        features_options(features),
        COLOR,
        keep_options,
        click.option(
            "--metric",
            metavar="M",
            default="correlation",
            show_default=True,
            help="Any distance of scipy's cdist, by name.",
        ),
        click.option(
            "--orientation",
            type=click.Choice(ORIENTATIONS),
            help="How the candidate may be rotated; fixed, but any for pattern.",
        ),
        click.option(
            "--no-rerank",
            is_flag=True,
            help="Keep the short list as it is, where features could verify it.",
        ),
        click.option(
            "--clusters",
            type=int,
            default=3,
            show_default=True,
            help="Of the kmeans model.",
        ),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="Of k-means."
        ),
    )

    def add(command):
        for option in reversed(options):
            command = option(command)
        return command

    return add


def chosen_model(
    k, name, features, color, preset, metric, orientation, no_rerank, clusters, seed
):
    """The model that `model_options` chose."""
    options = {"k_candidates": k, "dist_metric": metric}
    if orientation:
        options["orientation"] = orientation
    if no_rerank:
        options["rerank"] = None
    if name == "kmeans":
        options |= {"num_clusters": clusters, "random_state": seed}
    return make_model(name, features, color, preset, **options)
