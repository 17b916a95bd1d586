"""Options and output shared by several commands."""

import contextlib
import functools

import click

from .printing import echo
from .shorthands import (
    FEATURE_FILES,
    FEATURES,
    MODELS,
    ORIENTATIONS,
    check_features,
    make_model,
)

MAX_PIXELS = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=178_956_970,
    show_default=True,
    help="Refuse larger pictures unread (TIFFs that are cut into tiles may be larger).",
)
LABEL = click.option(
    "--label", metavar="COLUMN", help="Column of --metadata with the classes."
)
LABEL_FROM = click.option(
    "--label-from",
    metavar="PATTERN",
    help="Where file names hold the class: {kind}_{number}, or a regular expression.",
)
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
            self.fail(
                f"{value!r} is neither a range such as 1-10 nor a list such as 2,4,8."
            )
        return numbers


class Features(click.ParamType):
    """A feature name, or a file of features.

    Parameters
    ----------
    names, files : tuple of str
        Names and endings of files that are allowed.
    """

    name = "features"

    def __init__(self, names=FEATURES, files=FEATURE_FILES):
        self.names, self.files = names, files

    def get_metavar(self, param, ctx=None):
        return f"[{'|'.join(self.names)}|FILE]"

    def convert(self, value, param, ctx):
        try:
            return check_features(value, self.names, self.files)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_where(ctx, param, values):
    """Turn conditions such as hole=BH12 into what `Collection.where` takes."""
    from ..collection.selection import parse_conditions

    try:
        return parse_conditions(values)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def output_option(about):
    """Add -o, the file to write."""
    return click.option(
        "-o",
        "--output",
        required=True,
        type=click.Path(dir_okay=False),
        help=about,
    )


def metadata_option(about):
    """Add --metadata."""
    return click.option("--metadata", type=click.Path(), metavar="CSV", help=about)


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
        "rock+network adds a pretrained network (pip install 'geoimages[network]'); FILE "
        "is a saved model (model.skops) or a network (net.onnx).",
    )

    def decorate(command):
        return features(PRESET(command))

    return decorate


PRESET = click.option(
    "--preset",
    metavar="NAME",
    help="Input format of a network (net.onnx), such as resnet50.",
)
COLOR = click.option(
    "--color",
    type=float,
    metavar="SHARE",
    help="Weight of color against texture in the rock or pattern features: 0 is texture "
    "only, 1 color only.",
)


def jobs_options(command):
    """Add --jobs and --dask, the workers of what is done shard by shard."""

    @functools.wraps(command)
    def working(*args, jobs, dask, **kwargs):
        from ..collection.maps import workers

        if jobs is not None and dask is not None:
            raise click.UsageError(
                "--jobs are processes of this machine, --dask others; give one of them."
            )
        with workers(jobs, dask):
            return command(*args, **kwargs)

    dask = click.option(
        "--dask",
        metavar="ADDRESS",
        help="Share the shards of a folder among the workers of this Dask scheduler "
        "(pip install 'geoimages[dask]').",
    )
    jobs = click.option(
        "--jobs",
        type=click.IntRange(min=1, max=1024),
        metavar="N",
        help="Share the shards of a folder among N processes.",
    )
    return jobs(dask(working))


def refuse_missing(rocks):
    """End with an error where shards of a collection are missing."""
    if rocks.missing:
        name, why = next(iter(rocks.missing.items()))
        raise click.ClickException(
            f"{len(rocks.missing):,} of the shards of {rocks.path} are missing, such as "
            f"{name} ({why}); repeat the command, which goes on with those."
        )


def shard_options(command):
    """Add --rows and --megabytes, the size of a shard."""
    megabytes = click.option(
        "--megabytes",
        type=click.FloatRange(min=0, min_open=True),
        default=250,
        show_default=True,
        metavar="MB",
        help="Size of the pixels of a shard.",
    )
    rows = click.option(
        "--rows",
        type=click.IntRange(min=1),
        metavar="N",
        help="Pictures of a shard, instead of --megabytes.",
    )
    return rows(megabytes(command))


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
            echo(note, err=True)


def model_options(features):
    """Add the options of a similarity model; `features` is the default."""
    options = (
        click.option(
            "--model",
            "name",
            type=click.Choice(MODELS),
            default="pairwise",
            show_default=True,
            help="Search all pictures or only the nearest clusters.",
        ),
        features_options(features),
        COLOR,
        keep_options,
        click.option(
            "--metric",
            metavar="M",
            default="correlation",
            show_default=True,
            help="Any metric of scipy's cdist.",
        ),
        click.option(
            "--orientation",
            type=click.Choice(ORIENTATIONS),
            help="Rotations of the candidate to try; default fixed, for pattern any.",
        ),
        click.option(
            "--no-rerank",
            is_flag=True,
            help="Do not re-rank the short list by verification.",
        ),
        click.option(
            "--clusters",
            type=int,
            default=3,
            show_default=True,
            help="Number of clusters of the kmeans model.",
        ),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="Seed of k-means."
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
    """Make the model selected by `model_options`."""
    options = {"k_candidates": k, "dist_metric": metric}
    if orientation:
        options["orientation"] = orientation
    if no_rerank:
        options["rerank"] = None
    if name == "kmeans":
        options |= {"num_clusters": clusters, "random_state": seed}
    return make_model(name, features, color, preset, **options)
