"""The routes of the page: each parses, calls one function and shows the result."""

import asyncio
import contextlib
import json
import math
import traceback
from functools import lru_cache, partial
from hashlib import sha256
from itertools import islice
from pathlib import Path

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..collection.text import printable
from ..pictures.orientation import ORIENTATIONS
from ..pictures.reading import ImageReadError
from ..search import METRICS
from .answers import MEDIA, as_page, table_of, take_away
from .desk import Replaced, pairs_with_rows
from .photos import describe, region
from .pictures import SIZES, encode
from .question import Question
from .safety import Guard
from .tasks import Preparing

HERE = Path(__file__).parent
VIEWS = {
    "ask": "Ask",
    "collection": "Collection",
    "map": "Map",
    "compare": "Compare",
    "label": "Label",
}
MOST_BYTES = 64 << 20  # of a picture that a visitor sends
_MOST_JSON = 8 << 20
_SECONDS = 60  # that sending may take
_SECONDS_A_PART = 10
_UPLOADS = 4  # held in memory at a time, and as many messages
_FOREVER = "private, max-age=31536000, immutable"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_LONGEST = 100  # characters of a name
_MOST_LISTED = 500  # rows of the ledger, or pictures, in one answer


class Page:
    """The ASGI application.

    Parameters
    ----------
    desk : Desk
        What it works with.
    seconds, seconds_a_part : float
        That sending a picture, and each part of it, may take.
    most_bytes : int
        Largest picture that may be sent.
    """

    def __init__(
        self,
        desk,
        *,
        seconds=_SECONDS,
        seconds_a_part=_SECONDS_A_PART,
        most_bytes=MOST_BYTES,
    ):
        self.desk, self.most_bytes = desk, most_bytes
        self.seconds, self.seconds_a_part = seconds, seconds_a_part
        self._uploads = asyncio.Semaphore(_UPLOADS)
        self._messages = asyncio.Semaphore(_UPLOADS)
        loader = jinja2.FileSystemLoader(HERE / "templates")
        self._templates = jinja2.Environment(loader=loader, autoescape=True)

    def routes(self):
        """All addresses of the page."""
        get = [
            ("/api/state", self.state),
            ("/api/about", self.about),
            ("/api/keys", self.keys),
            ("/api/samples", self.samples),
            ("/api/ledger", self.ledger),
            ("/api/duplicates", self.duplicates),
            ("/api/map", self.map),
            ("/api/column", self.column),
            ("/api/at", self.at),
            ("/api/trials", self.trials),
            ("/api/trial", self.trial),
            ("/api/verdict", self.verdict),
            ("/api/to-label", self.to_label),
        ]
        post = [
            ("/api/list.csv", self.take_list),
            ("/api/trials", self.draw_trials),
            ("/api/vote", self.vote),
            ("/api/label", self.label),
            ("/api/unlabel", self.unlabel),
        ]
        both = [
            ("/api/ask", self.ask),
            ("/api/locate", partial(self.ask, form="places")),
        ]
        both += [(f"/api/ask.{form}", partial(self.ask, form=form)) for form in MEDIA]
        views = [("/" if name == "ask" else f"/{name}", name) for name in VIEWS]
        return [
            Route("/healthz", self.healthz),
            *(Route(path, partial(self.view, name=name)) for path, name in views),
            Route("/static/{stamp}/{name}", self.static),
            Route("/picture/{stamp}/{size}/{position}", self.picture),
            Route("/photo/{stamp}/{size}/{position}", self.photo),
            *(Route(path, self._told(call)) for path, call in get),
            *(Route(path, self._told(call), methods=["POST"]) for path, call in post),
            *(
                Route(path, self._told(call), methods=["GET", "POST"])
                for path, call in both
            ),
        ]

    def _told(self, call):
        """A handler whose errors are one sentence, without a path of this machine."""

        async def handle(request):
            try:
                return await call(request)
            except Preparing as state:
                about = {"stage": state.stage, "fraction": state.fraction}
                return JSONResponse({"preparing": about}, 202)
            except HTTPException as error:
                return self._sorry(error.detail, error.status_code)
            except Replaced as error:
                return self._sorry(error, 409)
            except ImageReadError as error:
                text = str(error).replace("the picture: ", "This file cannot be used: ")
                return self._sorry(text, 422)
            except KeyError as error:
                return self._sorry(error.args[0], 404)
            except (ValueError, TypeError, ImportError, OSError) as error:
                return self._sorry(error, 400)
            except Exception:
                traceback.print_exc()
                return self._sorry(
                    "Something went wrong here; the terminal where the page was started "
                    "says what.",
                    500,
                )

        return handle

    def _sorry(self, error, status):
        text = " ".join(printable(str(error)).split())
        for folder in (self.desk.path.absolute().parent, self.desk.path.parent):
            if str(folder) != ".":
                text = text.replace(f"{folder}/", "")
        return JSONResponse({"error": text}, status)

    async def view(self, request, name):
        """A view of the page."""
        template = self._templates.get_template(f"{name}.html")
        html = template.render(
            view=name, views=VIEWS, stamp=stamp(), collection=self.desk.path.name
        )
        return HTMLResponse(html, headers={"Cache-Control": "no-cache"})

    async def static(self, request):
        """A style sheet, module or icon; its address changes with its content."""
        files = static_files()
        name = request.path_params["name"]
        if name not in files:
            return PlainTextResponse("There is no such file.\n", 404)
        fresh = request.path_params["stamp"] == stamp()
        return Response(
            files[name],
            media_type=_TYPES[Path(name).suffix],
            headers={"Cache-Control": _FOREVER if fresh else "no-cache"},
        )

    async def healthz(self, request):
        """200 once the first question can be asked, 503 before."""
        try:
            await run_in_threadpool(self.desk.prepare)
        except Preparing as state:
            return PlainTextResponse(f"{state.stage}\n", 503)
        except Exception as error:
            return self._sorry(error, 500)
        return PlainTextResponse("ready\n")

    async def state(self, request):
        """Nothing, once the first question can be asked."""
        shelf = await run_in_threadpool(self.desk.prepare)
        return JSONResponse({"version": shelf.version})

    async def about(self, request):
        """The collection: numbers, classes, columns, and what can be chosen."""
        return JSONResponse(await run_in_threadpool(self._about))

    def _about(self):
        shelf = self.desk.shelf()
        about = shelf.rocks.summary(as_dict=True)
        votes = self.desk.votes
        return {
            "version": shelf.version,
            "name": shelf.rocks.path.name,
            "pictures": about["pictures"],
            "shape": about["image_shape"],
            "bytes": about["bytes"],
            "classes": {printable(n): c for n, c in sorted(about["classes"].items())},
            "unlabeled": about["pictures"] - sum(about["classes"].values()),
            "files": about["files"],
            "refused": about["refused"],
            "columns": shelf.columns(),
            "colors": ["label", *shelf.shown],
            "photos": len(shelf.photos),
            "features": self.desk.features,
            "metrics": sorted(METRICS),
            "orientations": ORIENTATIONS,
            "classifier": self.desk.classifier is not None,
            "votes": self.desk.votes_path.name if votes else None,
            "labels": self.desk.labels.path.name,
        }

    async def picture(self, request):
        """A picture of the collection; its address changes with the collection."""

        def make(shelf, place, size):
            return encode(shelf.rocks[place], size)

        return await self._drawn(request, lambda shelf: len(shelf.rocks), make)

    async def photo(self, request):
        """A part of a large photograph, of which the collection holds tiles."""
        text = request.query_params.get("box", "")[:100]

        def make(shelf, place, size):
            return region(shelf.photos[place], list(map(int, text.split(","))), size)

        return await self._drawn(request, lambda shelf: len(shelf.photos), make)

    async def _drawn(self, request, count, draw):
        """What is drawn of the collection at a place and a size, to be kept for good."""
        asked = request.path_params

        def make():
            shelf = self.desk.shelf()
            size = _whole(asked["size"], 0, 0, SIZES[-1])
            place = _whole(asked["position"], 0, 0, count(shelf) - 1)
            if size not in SIZES or asked["stamp"] != shelf.version:
                return None
            return draw(shelf, place, size)

        try:
            made = await run_in_threadpool(make)
        except (Preparing, ArithmeticError, ValueError, OSError):
            made = None
        if made is None:
            return PlainTextResponse("There is no such picture.\n", 404)
        data, kind = made
        return Response(data, media_type=kind, headers={"Cache-Control": _FOREVER})

    async def ask(self, request, form=None):
        """What is it, and where else was it seen: a key, or the picture in the body."""
        desk = self.desk
        question = Question.of(request.query_params, desk.features, desk.features[0])
        async with contextlib.AsyncExitStack() as stack:
            data = None
            if request.method == "POST":
                await stack.enter_async_context(self._uploads)
                data = await self._body(request, self.most_bytes)
            return await run_in_threadpool(self._answer, request, question, data, form)

    def _answer(self, request, question, data, form):
        shelf = self.desk.checked(request.query_params.get("version"))
        if form == "places":
            found = self.desk.places(shelf, question, data)
            about = {"version": shelf.version, "photos": describe(shelf.photos)}
            return JSONResponse({**about, "places": found})
        answer = self.desk.answer(shelf, question, data)
        if form is None:
            about = as_page(shelf, answer, self.desk.classifier)
            if question.key is not None:
                about["asked"] = shelf.rows([shelf.rocks.position(question.key)])[0]
            return JSONResponse(about)
        name = f"matches.{form}"
        return Response(
            take_away(shelf, question, answer, form),
            media_type=MEDIA[form],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    async def keys(self, request):
        """Pictures whose key contains a text."""
        text = request.query_params.get("q", "").lower()[:100]

        def find():
            shelf = self.desk.shelf()
            keys = shelf.rocks.keys.tolist()
            found = [i for i, key in enumerate(keys) if text in key.lower()]
            return shelf.rows(found[:12])

        return JSONResponse(await run_in_threadpool(find))

    async def samples(self, request):
        """A few pictures of each class, spread over it."""
        each = _whole(request.query_params.get("each"), 8, 1, 24)

        def choose():
            shelf = self.desk.shelf()
            labels, out = shelf.rocks.labels, []
            for name in [*shelf.rocks.classes.tolist(), ""]:
                (members,) = (labels == name).nonzero()
                if len(members):
                    step = max(1, len(members) // each)
                    chosen = shelf.rows(members[::step][:each])
                    count = len(members)
                    about = {"label": printable(name), "count": count}
                    out.append({**about, "pictures": chosen})
            return {"version": shelf.version, "classes": out}

        return JSONResponse(await run_in_threadpool(choose))

    async def ledger(self, request):
        """Files that were seen and what became of them."""
        status = request.query_params.get("status", "refused")
        start = _whole(request.query_params.get("start"), 0, 0, 10**9)

        def read():
            table = self.desk.shelf().rocks.ledger
            if not len(table):
                return {"total": 0, "rows": []}
            table = table[table["status"] == status]
            columns = ["path", "reason", "detail", "size"]
            rows = table[columns][start : start + _MOST_LISTED].to_dict("records")
            safe = [
                {n: printable(v) if isinstance(v, str) else v for n, v in row.items()}
                for row in rows
            ]
            return {"total": len(table), "rows": safe}

        return JSONResponse(await run_in_threadpool(read))

    async def duplicates(self, request):
        """Copies, and those whose labels contradict each other."""

        def look():
            shelf = self.desk.shelf()
            found = self.desk.duplicates(shelf)
            return {
                "version": shelf.version,
                "summary": found.summary(),
                "groups": int(found.groups.nunique()),
                "pairs": pairs_with_rows(shelf, found, 60),
            }

        return JSONResponse(await run_in_threadpool(look))

    async def map(self, request):
        """Two float32 for each picture."""
        query = request.query_params
        question = Question.of(query, self.desk.features, self.desk.features[0])
        method = "tsne" if query.get("method") == "tsne" else "pca"

        def draw():
            shelf = self.desk.checked(query.get("version"))
            return self.desk.points(shelf, question.features, method)

        points = await run_in_threadpool(draw)
        return Response(points.tobytes(), media_type="application/octet-stream")

    async def column(self, request):
        """A column to color the map by."""
        name = request.query_params.get("name", "label")

        def read():
            return self.desk.column(self.desk.shelf(), name)

        return JSONResponse(await run_in_threadpool(read))

    async def at(self, request):
        """Pictures by position."""
        text = request.query_params.get("i", "")[:8000]
        places = [_whole(part, 0, 0, 10**9) for part in text.split(",") if part]

        def read():
            shelf = self.desk.shelf()
            inside = [i for i in places if i < len(shelf.rocks)]
            return shelf.rows(inside[:_MOST_LISTED])

        return JSONResponse(await run_in_threadpool(read))

    async def take_list(self, request):
        """A list of pictures as CSV."""
        about = await self._json(request)

        def write():
            shelf = self.desk.checked(about.get("version"))
            places = _places(about, shelf)
            return table_of(shelf, shelf.rocks.keys[places].tolist())

        data = await run_in_threadpool(write)
        return Response(data, media_type=MEDIA["csv"])

    async def trials(self, request):
        """Which votes there are."""
        voter = request.query_params.get("voter", "").strip()

        def read():
            votes = self.desk.votes
            if votes is None:
                return {"file": None, "name": self.desk.votes_path.name}
            n_left = len(votes.pending(voter)) if voter else None
            return {
                "file": votes.path.name,
                "models": votes.trials.models,
                "trials": len(votes.trials),
                "votes": len(votes.history),
                "left": n_left,
            }

        return JSONResponse(await run_in_threadpool(read))

    async def draw_trials(self, request):
        """Draw blind trials of two models."""
        about = await self._json(request)
        names = self.desk.features
        known = [f"{kind}:{name}" for kind in ("pairwise", "kmeans") for name in names]
        pair = about.get("models")
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or any(name not in known for name in pair)
        ):
            raise ValueError(f"Choose two of the models {', '.join(known)}.")
        if pair[0] == pair[1]:
            raise ValueError("Choose two different models.")
        n_trials = _whole(about.get("trials"), 40, 1, 1000)

        def draw():
            shelf = self.desk.shelf()
            return {"trials": self.desk.draw_trials(shelf, tuple(pair), n_trials, 5)}

        return JSONResponse(await run_in_threadpool(draw))

    async def trial(self, request):
        """The next blind trial of a voter, or one that was answered before."""
        voter = request.query_params.get("voter", "").strip()
        name = request.query_params.get("name")

        def read():
            shelf, votes = self.desk.shelf(), self.desk.votes
            if votes is None:
                raise KeyError("There are no trials yet.")
            pending, trials = votes.pending(voter), votes.trials
            if name is not None and name not in trials:
                raise KeyError("There is no such trial.")
            if name is None and not pending:
                return {"done": True, "total": len(trials)}
            trial = trials[name] if name is not None else pending[0]
            sides = [shelf.rows(shelf.positions(s)) for s in (trial.left, trial.right)]
            places = [other.name for other in trials]
            return {
                "version": shelf.version,
                "name": trial.name,
                "number": places.index(trial.name) + 1,
                "total": len(trials),
                "query": shelf.rows(shelf.positions([trial.query]))[0],
                "left": sides[0],
                "right": sides[1],
            }

        return JSONResponse(await run_in_threadpool(read))

    async def vote(self, request):
        """Record a vote."""
        about = await self._json(request)
        names = ("trial", "voter", "choice")
        if not all(_is_text(about.get(name)) for name in names):
            raise ValueError("A vote needs a trial, a voter and a choice.")
        seconds = about.get("seconds")

        def write():
            votes = self.desk.votes
            if votes is None:
                raise KeyError("There are no trials yet.")
            votes.record(*(about[name] for name in names), seconds)
            return {"left": len(votes.pending(about["voter"]))}

        return JSONResponse(await run_in_threadpool(write))

    async def verdict(self, request):
        """What the votes say."""

        def read():
            if self.desk.votes is None:
                raise KeyError("There are no votes yet.")
            return _finite(self.desk.verdict())

        return JSONResponse(await run_in_threadpool(read))

    async def to_label(self, request):
        """Pictures to label, the most uncertain or new first."""
        n = _whole(request.query_params.get("n"), 12, 1, 100)
        skip = set(request.query_params.get("skip", "")[:8000].split(","))
        return JSONResponse(await run_in_threadpool(self._to_label, n, skip))

    def _to_label(self, n, skip):
        shelf = self.desk.shelf()
        positions, reasons = self.desk.order(shelf)
        given, keys = self.desk.labels.read(), shelf.rocks.keys
        left = (i for i in positions.tolist() if keys[i] not in given)
        chosen = list(islice((i for i in left if str(i) not in skip), n))
        rows = shelf.rows(chosen)
        for row in rows:
            place = row["position"]
            row["reason"] = "unlabeled" if not row["label"] else ""
            if reasons is not None:
                row["reason"] = str(reasons[place])
            row["copies"] = shelf.rows(
                i for i in self.desk.group_of(shelf, place) if i != place
            )
        classes = sorted({*map(str, shelf.rocks.classes), *given.values()})
        return {
            "version": shelf.version,
            "pictures": rows,
            "classes": list(map(printable, classes)),
            "given": len(given),
            "file": self.desk.labels.path.name,
        }

    async def label(self, request):
        """Label pictures."""
        about = await self._json(request)
        label, who = about.get("label"), about.get("who")
        if not isinstance(label, str) or not _is_text(who):
            raise ValueError("A label needs pictures, a class and a visitor.")

        def write():
            shelf = self.desk.checked(about.get("version"))
            places = _places(about, shelf)
            self.desk.labels.put(shelf.rocks.keys[places].tolist(), label, who)
            return {"given": len(self.desk.labels.read())}

        return JSONResponse(await run_in_threadpool(write))

    async def unlabel(self, request):
        """Take back a visitor's last label."""
        about = await self._json(request)
        who = about.get("who")

        def write():
            shelf = self.desk.shelf()
            keys = self.desk.labels.undo(who)
            known = [key for key in keys if key in shelf.rocks]
            return {
                "pictures": shelf.rows(shelf.positions(known)),
                "given": len(self.desk.labels.read()),
            }

        return JSONResponse(await run_in_threadpool(write))

    async def _body(self, request, most):
        """Read what a visitor sends, unless it is too large or too slow."""
        length = request.headers.get("content-length")
        too_large = HTTPException(
            413, f"This file is larger than {most >> 20} MB; send a smaller picture."
        )
        if length is not None and (not length.isdigit() or int(length) > most):
            raise too_large
        parts, n_bytes = [], 0
        stream = request.stream()
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    async with asyncio.timeout(self.seconds_a_part):
                        part = await anext(stream, None)
                    if part is None:
                        return b"".join(parts)
                    n_bytes += len(part)
                    if n_bytes > most:
                        raise too_large
                    parts.append(part)
        except TimeoutError:
            raise HTTPException(
                408, "The picture took too long to arrive; send it again."
            ) from None

    async def _json(self, request):
        async with self._messages:
            data = await self._body(request, _MOST_JSON)
            try:
                about = json.loads(data)
            except (ValueError, RecursionError):
                about = None
        if not isinstance(about, dict):
            raise ValueError("This is not what the page sends.")
        return about


def _whole(text, default, low, high):
    """A whole number in limits, or an error."""
    if text in (None, ""):
        return default
    try:
        value = int(text)
    except (ValueError, TypeError):
        value = None
    if value is None or not low <= value <= high:
        raise ValueError(f"{text!r} is not a number from {low} to {high}.")
    return value


def _places(about, shelf):
    """The positions in the collection that a message names, or an error."""
    values, n = about.get("positions"), len(shelf.rocks)
    if not isinstance(values, list) or not 0 < len(values) <= n:
        raise ValueError(f"Choose 1 to {n} pictures.")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < n:
            raise ValueError(f"{value!r} is not a position from 0 to {n - 1}.")
    return values


def _is_text(value):
    """Whether a value is a line of text, as names of people and of trials are."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST


def _finite(value):
    """Data without infinities and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@lru_cache(1)
def static_files():
    """The files that every view loads: {name: bytes}."""
    return {
        path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())
    }


@lru_cache(1)
def stamp():
    """A hash of these files, a part of their address."""
    digest = sha256()
    for name, data in static_files().items():
        digest.update(name.encode() + b"\0" + data)
    return digest.hexdigest()[:12]


def make_app(desk, hosts, port, token=None, **limits):
    """Return the guarded application.

    Parameters
    ----------
    desk : Desk
        What it works with.
    hosts, port, token
        As `Guard` takes them.
    **limits
        Of `Page`.
    """
    page = Page(desk, **limits)
    return Guard(Starlette(routes=page.routes()), hosts, port, token)
