"""What the commands print: the one place where text reaches a terminal or a pipe."""

import shutil

import click

from ..collection.text import printable, to_csv


def echo(text, err=False, nl=True):
    """Print text in which nothing can steer the terminal."""
    click.echo(printable(str(text)), err=err, nl=nl)


def print_table(table, form=None, needed=None):
    """Print a table for people, or as JSON or CSV for programs.

    Parameters
    ----------
    table : DataFrame
        Its index is left out.
    form : {"json", "csv"}, optional
        By default a table for people.
    needed : list of str, optional
        Columns that people always see; of the others those that fit the terminal. By
        default all.
    """
    if form == "json":
        echo(table.to_json(orient="records", indent=2, force_ascii=False))
    elif form == "csv":
        echo(to_csv(table, index=False), nl=False)
    else:
        text = table.apply(_in_words)
        shown = list(text.columns) if needed is None else _that_fit(text, needed)
        echo(text[shown].to_string(index=False))
        left = [str(name) for name in text.columns if name not in shown]
        if left:
            echo(f"--all-columns shows {', '.join(left)}, too.", err=True)


def _in_words(column):
    """A column as text: with the decimals that it needs, at most four."""
    if column.name == "orientation":
        return column.map("{:.0f}°".format)
    if column.dtype.kind != "f":
        return column.map(lambda value: str(value).replace("\n", " "))
    known = column.dropna()
    whole = (known % 1 == 0).all() and (known.abs() > 1).any()
    needed = (d for d in (1, 2, 3) if (known.round(d) == known.round(4)).all())
    decimals = 0 if whole else next(needed, 4)
    return column.map(lambda value: f"{value:.{decimals}f}" if value == value else "")


def _that_fit(text, needed):
    """The needed columns, and of the others as many as fit the terminal."""
    widths = {
        name: 1 + max(len(str(name)), *text[name].str.len()) for name in text.columns
    }
    shown = [name for name in text.columns if name in needed]
    free = shutil.get_terminal_size().columns - sum(widths[name] for name in shown)
    for name in text.columns:
        if name not in needed:
            free -= widths[name]
            if free < 0:
                break
            shown.append(name)
    return [name for name in text.columns if name in shown]
