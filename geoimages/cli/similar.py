"""Commands for similarity search, neighbors, clusters and maps."""

import click

import geoimages as gi

from .group import cli
from .options import (
    COLLECTION,
    COLOR,
    Clusters,
    chosen_model,
    features_options,
    format_options,
    jobs_options,
    keep_options,
    model_options,
    open_keeping,
    output_option,
    parse_where,
)
from .printing import echo, print_table
from .shorthands import make_features, make_model


@cli.command()
@COLLECTION
@click.argument("candidate", metavar="PICTURE|KEY")
@click.option("-k", "k", type=int, default=12, show_default=True, help="How many.")
@model_options("rock")
@click.option(
    "--where",
    multiple=True,
    callback=parse_where,
    metavar="CONDITION",
    help="Search only these pictures: hole=BH12 (repeat it for alternatives), "
    "depth=10..14, 'depth>12'.",
)
@click.option(
    "--within-class",
    type=click.Path(dir_okay=False),
    metavar="MODEL.SKOPS",
    help="Classify the picture first, and search only pictures of its class.",
)
@click.option(
    "--explain", is_flag=True, help="Divide each distance among the feature blocks."
)
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the matches.")
@click.option(
    "--all-columns", is_flag=True, help="Print what does not fit the terminal, too."
)
@format_options
@jobs_options
def similar(
    collection,
    candidate,
    k,
    where,
    within_class,
    explain,
    plot,
    all_columns,
    form,
    keep,
    cache_size,
    **choice,
):
    """Find the pictures most similar to a picture file or a key."""
    if explain and choice["features"] == "pixels" and choice["color"] is None:
        raise click.UsageError(
            "--explain divides a distance among feature blocks, and pixels have none; "
            "add --features rock."
        )
    model = chosen_model(k, **choice)
    with open_keeping(collection, keep, cache_size) as rocks:
        matches = gi.find_similar(
            model,
            rocks,
            candidate,
            where,
            within_class=gi.load(within_class) if within_class else None,
            explain=explain,
        )
        if plot:
            shown = candidate if candidate in rocks else gi.read_image(candidate)
            gi.visualize.save_figure(gi.Plots.plot_matches(matches, rocks, shown), plot)
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
    needed = ["key", *matches.columns, "label", *where]
    print_table(table, form, None if all_columns else needed)
    for note in matches.attrs["notes"]:
        echo(f"{note[0].upper()}{note[1:]}.", err=True)
    if plot:
        echo(f"Drew {plot}", err=True)


@cli.command()
@COLLECTION
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many.")
@model_options("pixels")
@output_option("JSON file: each key with its neighbors and their similarities.")
@click.option(
    "--vectors",
    type=click.Path(dir_okay=False),
    help="Also write the vectors compared, as .npy or .json.",
)
@jobs_options
def neighbors(collection, k, output, vectors, keep, cache_size, **choice):
    """Write the nearest neighbors of every picture: the k-nearest-neighbor graph."""
    model = chosen_model(k, **choice)
    with open_keeping(collection, keep, cache_size) as rocks:
        model.set_params(image_shape=rocks.image_shape).fit(rocks)
        n_pictures = gi.write_neighbors(model, output, k, vectors_path=vectors)
    echo(f"{n_pictures:,} pictures, {k} neighbors each, in {output}")
    if vectors:
        echo(f"Vectors in {vectors}")


@cli.command()
@COLLECTION
@click.option(
    "--parquet",
    "form",
    flag_value="parquet",
    help="Table and vectors, for LanceDB, DuckDB, Milvus and others.",
)
@click.option(
    "--faiss",
    "form",
    flag_value="faiss",
    help="An index of faiss, and its keys.",
)
@output_option("File to write.")
@features_options("rock")
@COLOR
@keep_options
@click.option(
    "--metric",
    default="cosine",
    show_default=True,
    help="Distance of the index: cosine, correlation or euclidean.",
)
@click.option(
    "--factory",
    default="Flat",
    show_default=True,
    help="Kind of index, as faiss's index_factory takes it.",
)
@jobs_options
def export(
    collection,
    form,
    output,
    features,
    preset,
    color,
    keep,
    cache_size,
    metric,
    factory,
):
    """Write the vectors of a collection for another store."""
    if form is None:
        raise click.UsageError("Say what to write: --parquet or --faiss.")
    with open_keeping(collection, keep, cache_size) as rocks:
        transformer = make_features(features, color, preset)
        if transformer is not None:
            transformer.fit(rocks, None)
        if form == "parquet":
            length = gi.write_parquet(rocks, output, transformer)
        else:
            length = gi.write_faiss(
                rocks, output, transformer, metric=metric, factory=factory
            )
        echo(f"{len(rocks):,} vectors of {length:,} values in {output}")
    if form == "faiss":
        echo(f"Their keys in {output}.csv")


@cli.command()
@COLLECTION
@click.option(
    "--clusters",
    type=Clusters(),
    default="1-10",
    show_default=True,
    help="Numbers of clusters to try.",
)
@features_options()
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of k-means.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the curve.")
@format_options
@jobs_options
def elbow(collection, clusters, features, preset, seed, plot, form):
    """Show how the k-means inertia falls with the number of clusters."""
    import pandas as pd

    with gi.Collection(collection) as rocks:
        model = make_model(
            "kmeans", features, preset=preset, num_clusters=1, random_state=seed
        )
        model.set_params(image_shape=rocks.image_shape).fit(rocks)
        inertias = model.model_inertias(clusters)
    print_table(pd.DataFrame({"clusters": clusters, "inertia": inertias}), form)
    best = gi.suggest_elbow(clusters, inertias)
    text = "No clear elbow" if best is None else f"Suggested: {best} clusters"
    echo(f"{text}.", err=form is not None)
    if plot:
        gi.visualize.save_figure(gi.Plots.elbow_plot(clusters, inertias), plot)
        echo(f"Drew {plot}", err=True)


@cli.command("map")
@COLLECTION
@features_options("rock")
@COLOR
@keep_options
@click.option(
    "--method",
    type=click.Choice(["svd", "pca", "tsne"]),
    default="pca",
    show_default=True,
    help="Projection to two dimensions.",
)
@click.option("--thumbnails", is_flag=True, help="Show pictures among the points.")
@click.option(
    "--plot", required=True, type=click.Path(dir_okay=False), help="Draw the map."
)
@click.option(
    "--animation",
    type=click.Path(dir_okay=False),
    metavar="GIF",
    help="Also draw a rotating map in three dimensions.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the projection."
)
@jobs_options
def map_(
    collection,
    features,
    preset,
    color,
    keep,
    cache_size,
    method,
    thumbnails,
    plot,
    animation,
    seed,
):
    """Draw a map on which similar pictures are close."""
    import numpy as np

    from ..pictures.scaling import on_white

    with open_keeping(collection, keep, cache_size) as rocks:
        transformer = make_features(features, color, preset)
        if transformer is None:
            pictures = rocks[:]
            pictures = on_white(pictures) if pictures.shape[3] == 4 else pictures
            vectors = pictures.reshape(len(pictures), -1) / np.float32(255)
        else:
            vectors = rocks.features(transformer.fit(rocks, None))
        labels = rocks.labels if len(rocks.classes) else None
        figure = gi.Plots.embedding_plot(
            vectors,
            labels,
            method,
            images=rocks if thumbnails else None,
            random_state=seed,
        )
        gi.visualize.save_figure(figure, plot)
        echo(f"Drew {plot}")
        if animation:
            gi.Plots.embedding_animation(
                animation, vectors, labels, method, random_state=seed
            )
            echo(f"Drew {animation}")
