"""Text of files and tables made harmless where it leaves, and read back."""

import re
import unicodedata

_STEERS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_FORMULA = re.compile(r"'*[=+\-@]")


def printable(text):
    r"""Escape what could steer a terminal: control characters but the end of a line.

    Parameters
    ----------
    text : str
        Text, such as the name of a file.

    Returns
    -------
    text : str
        The same with ``\u001b`` and the like, as JSON escapes them, instead of control
        characters, marks that turn the direction of writing, and halves of surrogates.

    Examples
    --------
    >>> printable("granite\x1b[2J")
    'granite\\u001b[2J'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(letter):04x}"
        if letter != "\n"
        and (
            unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
            or letter in _STEERS
        )
        else letter
        for letter in text
    )


def cell(value):
    r"""Make a cell of a table safe for CSV; `original` undoes it.

    Control characters are escaped as by `printable`, the end of a line too, and text
    that a spreadsheet would take for a formula begins with an apostrophe. Numbers stay
    as they are.

    Parameters
    ----------
    value : object
        A cell.

    Returns
    -------
    value : object

    Examples
    --------
    >>> cell("=1+1"), cell(-3), cell("-3"), cell("a\rb")
    ("'=1+1", -3, '-3', 'a\\u000db')
    """
    if not isinstance(value, str):
        return value
    text = printable(_ESCAPE.sub(r"\\u005cu\1", value)).replace("\n", "\\u000a")
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def original(text):
    r"""Return the text of which `cell` made a cell.

    Parameters
    ----------
    text : str
        A cell of a CSV that this package wrote.

    Returns
    -------
    text : str

    Examples
    --------
    >>> original("'=1+1"), original("a\\u000db")
    ('=1+1', 'a\rb')
    """
    text = text[1:] if text.startswith("'") and _FORMULA.match(text) else text
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def originals(column):
    r"""Return the texts of which `cell` made the cells of a column.

    They are objects: pandas' own text, where pyarrow is installed, takes no halves of
    surrogates.

    Parameters
    ----------
    column : Series of str
        A column of a CSV that this package wrote. What is missing stays so.

    Returns
    -------
    texts : Series of object
    """
    import pandas as pd  # the command line starts without it

    texts = [original(text) if isinstance(text, str) else text for text in column]
    return pd.Series(texts, column.index, object)


def _is_number(text):
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


def to_csv(table, **options):
    """Write a table as CSV in which every text is safe.

    Parameters
    ----------
    table : DataFrame
        Any table.
    **options
        Of `pandas.DataFrame.to_csv`.

    Returns
    -------
    text : str or None
        What `pandas.DataFrame.to_csv` returns.
    """
    safe = table.copy()
    safe.columns = [cell(name) for name in table.columns]
    safe.index = table.index.map(cell)
    text = [i for i, kind in enumerate(table.dtypes) if kind.kind not in "biufMm"]
    for i in text:
        safe.isetitem(i, [cell(value) for value in table.iloc[:, i]])
    return safe.to_csv(**options)
