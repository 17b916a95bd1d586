"""The command line: each command parses, calls the library and prints."""

import sys

import click

from . import (  # noqa: F401
    classes,
    collections,
    comparing,
    coring,
    locating,
    serving,
    similar,
)
from .group import Fault, cli
from .printing import echo

_MOST_SHOWN = 300  # characters of a complaint about a path
# What click 8.2 and later raise for a command without arguments; earlier ones print.
_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())


def _complain(text):
    """Print a one-line error to stderr."""
    echo(f"Error: {' '.join(str(text).split())}", err=True)


def main(argv=None):
    """Run a command and return its exit code.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    code : int
        0 on success, 2 after a user error and 1 after any other (one line on stderr),
        130 if interrupted.
    """
    try:
        return cli.main(args=argv, prog_name="geoimages", standalone_mode=False) or 0
    except click.ClickException as error:
        if isinstance(error, _HELP):
            error.show()
        else:
            _complain(error.format_message())
        return 1 if isinstance(error, Fault) else 2
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 130
    except BrokenPipeError:  # the reader closed the pipe
        sys.stderr.close()
        return 0
    except (OSError, ValueError) as error:  # of a path that no system can hold
        _complain(str(error)[:_MOST_SHOWN])
        return 2
