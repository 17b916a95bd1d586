"""The page's modules as a widget in a notebook."""

import re
from base64 import b64encode
from pathlib import Path

import anywidget
import traitlets
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ..voting import record_votes
from ..workflows import ask, fit_keeping
from .answers import as_page
from .desk import Shelf, column_of, map_of
from .pictures import encode

STATIC = Path(__file__).parent / "static"
_MODULES = ("elements.js", "matches.js", "scatter.js", "widget.js")
_IMPORT = re.compile(r'^import [^;]*?from "\./\w+\.js";\n', re.MULTILINE | re.DOTALL)
_SIDE = 256  # pixels of the pictures that are sent
_MOST_LISTED = 60


def module():
    """The modules of the page as one, which a widget needs: JavaScript."""
    parts = []
    for name in _MODULES:
        text = _IMPORT.sub("", (STATIC / name).read_text(encoding="utf-8"))
        parts.append(re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE))
    return "\n".join(parts)


def style():
    """The style sheet of the page, for what is in the widget only: CSS."""
    text = (STATIC / "style.css").read_text(encoding="utf-8")
    text = re.sub(r"^html \{", "& {", text.replace(":root", "&"), flags=re.MULTILINE)
    return f".geoimages-explorer {{\n{text}\n}}"


class Explorer(anywidget.AnyWidget):
    """Matches, a map with a lasso, and blind votes in a notebook.

    `Collection.explorer` makes one.

    Parameters
    ----------
    rocks : Collection
        The pictures.
    model : PairwiseModel or KMeansModel
        Fitted on them, or unfitted: then a clone is fitted.
    votes : path-like, optional
        A file of blind votes, for trials.
    voter : str, default="notebook"
        Whose votes they are.
    color : str, default="label"
        Column to color the map by.

    Attributes
    ----------
    selected : list of str
        Keys of the pictures in the lasso, or of the one asked about.
    query : str
        Key of the picture asked about; setting it asks.
    matches : DataFrame or None
        The ranked table of the last question.
    """

    _esm, _css = module(), style()
    selected = traitlets.List(traitlets.Unicode())
    query = traitlets.Unicode("")
    points = traitlets.Bytes(b"").tag(sync=True)
    column = traitlets.Dict().tag(sync=True)
    shape = traitlets.List().tag(sync=True)
    trials = traitlets.Bool(False).tag(sync=True)
    answer = traitlets.Dict().tag(sync=True)

    def __init__(self, rocks, model, *, votes=None, voter="notebook", color="label"):
        try:
            check_is_fitted(model)
        except NotFittedError:
            model = fit_keeping(model, rocks)
        if len(model.keys_) != len(rocks) or (model.keys_ != rocks.keys).any():
            raise ValueError(
                f"The model was fitted on other pictures than those of "
                f"{rocks.path.name}; fit it with this collection."
            )
        self.model, self.matches = model, None
        self._shelf, self._voter = Shelf(rocks), voter
        self._votes = None if votes is None else record_votes(votes)
        super().__init__(
            points=map_of(rocks, model).tobytes(),
            column=column_of(self._shelf, color),
            shape=list(rocks.image_shape),
            trials=self._votes is not None,
        )
        self.observe(self._ask, "query")
        self.on_msg(self._reply)

    def _ask(self, change):
        """Answer a question about a key."""
        answer = ask(self.model, self._shelf.rocks, change["new"])
        page = as_page(self._shelf, answer, None)
        page["asked"] = self._rows([self._shelf.rocks.position(change["new"])])[0]
        for row in page["matches"]:
            row["src"] = self._source(row["position"])
        self.matches, self.selected = answer.matches, [change["new"]]
        self.answer = page

    def _reply(self, _, content, buffers):
        """Answer what the widget asks, or say in one sentence why not."""
        call = {
            "open": self._open,
            "picture": self._picture,
            "select": self._select,
            "trial": self._trial,
            "vote": self._vote,
        }.get(content.get("kind"))
        said = {"id": content.get("id")}
        try:
            if call is None:
                raise ValueError(f"The widget knows no {content.get('kind')!r}.")
            said["result"] = call(content)
        except (KeyError, ValueError, TypeError, IndexError, OSError) as error:
            said["error"] = str(error.args[0] if error.args else error)
        self.send(said)

    def _place(self, value):
        if not isinstance(value, int) or not 0 <= value < len(self._shelf.rocks):
            raise ValueError(f"{value!r} is not a position in the collection.")
        return value

    def _source(self, position):
        data, kind = encode(self._shelf.rocks[position], _SIDE)
        return f"data:{kind};base64,{b64encode(data).decode()}"

    def _rows(self, positions):
        rows = self._shelf.rows(positions)
        return [row | {"src": self._source(row["position"])} for row in rows]

    def _open(self, content):
        self.query = str(self._shelf.rocks.keys[self._place(content["position"])])

    def _picture(self, content):
        return self._source(self._place(content["position"]))

    def _select(self, content):
        places = [self._place(value) for value in content["positions"]]
        self.selected = self._shelf.rocks.keys[places].tolist()
        return self._rows(places[:_MOST_LISTED])

    def _trial(self, content):
        """The next blind trial."""
        if self._votes is None:
            raise ValueError("Give a file of votes: rocks.explorer(model, votes=path).")
        pending = self._votes.pending(self._voter)
        if not pending:
            return None
        trial, shelf = pending[0], self._shelf
        sides = [self._rows(shelf.positions(s)) for s in (trial.left, trial.right)]
        query = self._rows(shelf.positions([trial.query]))[0]
        told = {"name": trial.name, "query": query, "pending": len(pending)}
        return told | dict(zip(("left", "right"), sides, strict=True))

    def _vote(self, content):
        self._votes.record(
            content["trial"], self._voter, content["choice"], content.get("seconds")
        )
        return self._trial(content)
