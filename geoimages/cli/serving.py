"""The command that opens the page."""

from pathlib import Path

import click

from .classes import load_classifier
from .group import cli
from .options import COLLECTION, Features
from .printing import echo
from .shorthands import FEATURES, make_model


@cli.command()
@COLLECTION
@click.option(
    "--model",
    "classifier",
    type=click.Path(),
    metavar="MODEL.SKOPS",
    help="A classifier that 'geoimages train' made: the page says what a picture is.",
)
@click.option(
    "--votes",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The file of blind votes; by default beside the collection.",
)
@click.option(
    "--labels",
    type=click.Path(dir_okay=False),
    metavar="CSV",
    help="The file of labels given on the page; by default beside the collection.",
)
@click.option(
    "--features",
    type=Features(),
    default="rock",
    show_default=True,
    help="What is compared at first; FILE is a saved model or a network.",
)
@click.option(
    "--port", type=int, default=8765, show_default=True, help="0: a free one."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Another address than this machine's own; visitors then need the token that is "
    "printed.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def serve(collection, classifier, votes, labels, features, port, host, no_browser):
    """Open a page: drop a picture, see what it is and where it occurs."""
    try:
        from ..web.desk import Desk
        from ..web.server import serve as run
    except ImportError as error:
        raise ImportError(
            f"The page needs {error.name}; pip install 'geoimages[web]'."
        ) from None
    if classifier is not None:
        classifier = load_classifier(classifier)
    known = {Path(name).name: name for name in (features, *FEATURES)}
    desk = Desk(
        collection, make_model, known, classifier=classifier, votes=votes, labels=labels
    )
    run(desk, host, port, browser=not no_browser, echo=echo)
