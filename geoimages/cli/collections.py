"""Commands that create, inspect and split a collection."""

import json
from pathlib import Path

import click

import geoimages as gi

from .group import cli
from .options import (
    COLLECTION,
    LABEL,
    LABEL_FROM,
    MAX_PIXELS,
    format_options,
    jobs_options,
    metadata_option,
    output_option,
    refuse_missing,
    shard_options,
)
from .printing import echo, print_table


@cli.command()
@click.option(
    "--output",
    default="demo",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder to write to.",
)
@click.option("--source", type=click.Path(), help="Your own zip or folder instead.")
def demo(output, source):
    """Run the main steps on a drawn sample, or on your own pictures."""
    from .demo import run_demo

    run_demo(output, source, echo=echo)


@cli.command()
@click.argument("source", type=click.Path())
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(),
    help="The .h5 file; rocks/ is a folder of shards.",
)
@click.option(
    "--size", nargs=2, type=int, metavar="H W", help="Bring all pictures to one size."
)
@click.option(
    "--fit",
    type=click.Choice(["crop", "pad", "stretch"]),
    default="crop",
    show_default=True,
    help="How to handle other aspect ratios.",
)
@click.option("--alpha", is_flag=True, help="Keep transparency as a mask of the rock.")
@click.option("--rotate", is_flag=True, help="Store copies rotated by 90, 180, 270°.")
@click.option(
    "--sample", type=float, default=1.0, metavar="P", help="Share of each class, 0–1."
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the sample."
)
@metadata_option(
    "A table with a column 'file' and any others (label, hole, depth_from, …)."
)
@LABEL
@LABEL_FROM
@MAX_PIXELS
@click.option(
    "--resume", is_flag=True, help="Continue a run that was killed where it stopped."
)
@shard_options
@jobs_options
def etl(
    source,
    output,
    size,
    fit,
    alpha,
    rotate,
    sample,
    seed,
    metadata,
    label,
    label_from,
    max_pixels,
    resume,
    rows,
    megabytes,
):
    """Read a zip or folder of class folders into one .h5 file, or into shards.

    SOURCE may also be a text file with the path of a picture on each line, or an address
    such as s3://bucket/rocks. Shards that are finished are never written again.
    """
    from ..collection.journal import unfinished

    left = unfinished(output)
    if left:
        then = "continuing." if resume else "starting again; --resume continues it."
        echo(f"{left}; {then}", err=True)
    rocks = gi.Collection.create(
        output,
        source,
        size=size,
        fit=fit,
        alpha=alpha,
        rotate=rotate,
        sample=sample,
        random_state=seed,
        metadata=metadata,
        label=label,
        label_from=label_from,
        max_pixels=max_pixels,
        resume=resume,
        rows=rows,
        megabytes=megabytes,
    )
    with rocks:
        echo(rocks.summary())
        refuse_missing(rocks)


@cli.command()
@COLLECTION
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(),
    help="A folder for shards, or an .h5 file to bring them into.",
)
@shard_options
def shard(collection, output, rows, megabytes):
    """Write a collection as a folder of shards, or a folder as one .h5 file.

    Shards are what several workers share. A run that was killed goes on where it
    stopped.
    """
    is_file = Path(output).suffix.lower() in (".h5", ".hdf5")
    with gi.Collection(collection) as rocks:
        if is_file and not Path(output).is_dir():
            made = rocks.merge(output)
        else:
            made = rocks.shard(output, rows=rows, megabytes=megabytes)
    with made:
        files = len(made.files)
        echo(
            f"{len(made):,} pictures in {output}"
            + ("" if made.files.paths[0] == made.path else f", {files:,} shards")
        )


@cli.command()
@COLLECTION
@click.argument("sources", metavar="NEW...", nargs=-1, required=True)
@metadata_option("A table about the new pictures, as for etl.")
@LABEL
@LABEL_FROM
@click.option(
    "--fit",
    type=click.Choice(["crop", "pad", "stretch"]),
    help="How to handle other sizes; default as in the collection.",
)
@MAX_PIXELS
@jobs_options
def add(collection, sources, metadata, label, label_from, fit, max_pixels):
    """Add pictures to a collection: folders, zips or files.

    A file is written again, with all pictures, and replaced as a whole; a folder gets
    further shards.
    """
    with gi.Collection(collection) as rocks:
        n_pictures, n_files = len(rocks), len(rocks.ledger)
        rocks.add(
            *sources,
            metadata=metadata,
            label=label,
            label_from=label_from,
            fit=fit,
            max_pixels=max_pixels,
        )
        new = rocks.ledger[n_files:]
        echo(
            f"Added {len(rocks) - n_pictures:,} pictures to {collection}, which has "
            f"{len(rocks):,} now."
        )
    refused = new[new["status"] == "refused"]
    for reason, rows in refused.groupby("reason"):
        shown = ", ".join(rows["path"][:3]) + (", …" if len(rows) > 3 else "")
        echo(f"  refused as {reason}: {len(rows):,} ({shown})")


@cli.command()
@COLLECTION
@click.argument(
    "output", metavar="[FILE]", required=False, type=click.Path(dir_okay=False)
)
@format_options
def ledger(collection, output, form):
    """List the files that were refused, and why; with --csv or --json, all files.

    Every file that was seen has a row. FILE is where the rows are written to, instead
    of being printed.
    """
    from ..collection.text import to_csv
    from ..files import atomic_path

    with gi.Collection(collection) as rocks:
        table = rocks.ledger
    if output is not None:
        if form is None:
            raise click.UsageError(f"Add --csv or --json to write {output}.")
        with atomic_path(output) as temporary:
            if form == "csv":
                to_csv(table, path_or_buf=temporary, index=False)
            else:
                table.to_json(temporary, orient="records", indent=2, force_ascii=False)
        echo(f"{len(table):,} rows in {output}", err=True)
        return
    if form is None:
        left = table[table["status"] != "kept"] if len(table) else table
        if len(left):
            left = left[["path", "status", "reason", "detail"]].copy()
            left["detail"] = left["detail"].map(_shortened)
            print_table(left)
    else:
        print_table(table, form)
    counts = table["status"].value_counts() if len(table) else {}
    told = ", ".join(f"{n:,} {status}" for status, n in sorted(counts.items()))
    said = f"{len(table):,} files seen: {told}" if told else "It has no ledger."
    echo(said, err=form is not None)


@cli.command()
@COLLECTION
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(collection, as_json):
    """Summarize a collection and the files it was created from."""
    from ..collection.journal import unfinished

    with gi.Collection(collection) as rocks:
        if as_json:
            echo(json.dumps(rocks.summary(as_dict=True), indent=2))
        else:
            echo(rocks.summary())
            left = unfinished(collection)
            if left:
                echo(f"{left}: etl --resume continues it.")


@cli.command()
@click.argument("file", type=click.Path())
@jobs_options
def verify(file):
    """Check every checksum of a collection, a model, an index or a file of votes.

    The content says what it is. A collection is opened in a process of its own first.
    """
    from .verifying import verify_file

    problems = verify_file(file)
    for problem in problems:
        echo(problem)
    if problems:
        raise click.ClickException(f"{file} is damaged.")
    echo(f"{file} is whole.")


def _shortened(text, most=60):
    """Text on one line, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


@cli.command()
@COLLECTION
@click.option("--clear", is_flag=True, help="Delete the files; they cost time only.")
@format_options
def cache(collection, clear, form):
    """List the features that are kept beside a collection, or delete them."""
    import pandas as pd

    with gi.Collection(collection) as rocks:
        if clear:
            echo(f"Deleted {rocks.cache.clear()} files.")
            return
        table = pd.DataFrame(
            rocks.cache.describe(), columns=["file", "features", "bytes"]
        )
    if form is None:
        table["features"] = table["features"].map(_shortened)
    if len(table) or form:
        print_table(table, form)
    else:
        echo("Nothing is kept.")


@cli.command()
@COLLECTION
@format_options
@jobs_options
def duplicates(collection, form):
    """List duplicate pictures, and duplicates with contradicting labels."""
    with gi.Collection(collection) as rocks:
        found = gi.find_duplicates(rocks)
    if len(found.pairs) or form:
        print_table(found.pairs, form)
    echo(found.summary(), err=form is not None)


@cli.command()
@COLLECTION
@output_option("CSV file with columns key and split, for train and evaluate.")
@click.option(
    "--test",
    "test_size",
    type=float,
    default=0.2,
    show_default=True,
    help="Share of the test part.",
)
@click.option(
    "--dev",
    "dev_size",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of the dev part.",
)
@click.option(
    "--column",
    metavar="NAME",
    help="Keep pictures with the same value together: drill hole, sample, photo.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the split."
)
@jobs_options
def split(collection, output, test_size, dev_size, column, seed):
    """Split a collection into train, dev and test parts without leakage."""
    import pandas as pd

    from ..collection.text import to_csv
    from ..files import atomic_path

    with gi.Collection(collection) as rocks:
        parts = gi.split(rocks, test_size, dev_size, column=column, random_state=seed)
        names = pd.Series("train", index=pd.Index(rocks.keys, name="key"), name="split")
        for name, positions in parts._asdict().items():
            names.iloc[positions] = name
    with atomic_path(output) as temporary:
        to_csv(names.to_frame(), path_or_buf=temporary)
    for name, positions in parts._asdict().items():
        echo(f"{len(positions):,} {name}")
