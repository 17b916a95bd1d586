"""The picture of the house, drawn from the code: rooms, floors, and what lives there."""

import ast
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "geoimages"
OUTSIDE = ("benchmarks", "notebooks", "docs", "setup.py")  # code that is not shipped

_MADE = {"_build", "gallery", "work"}  # by make docs and make notebooks

# Where something new goes, as numbered on the page.
ADDITIONS = {"features": 1, "search": 2, "similarity": 3, "evaluate": 4}
ADDITIONS |= {"visualize": 5, "cli": 6}
WAISTS = {"collection", "similarity"}  # the ranked table is made in the latter

_WIDTH, _WALL, _GAP, _PAD = 820, 20, 10, 12
_LINE, _LETTER = 16, 6.3  # pixels
_STYLE = """
.house { overflow-x: auto; margin: 1.5rem 0; }
.house svg { width: 100%; min-width: 620px; max-width: 900px; display: block; }
.house text { fill: var(--pst-color-text-base, #222); font-size: 12px;
  font-family: var(--pst-font-family-base, sans-serif); }
.house .title { font-size: 16px; font-weight: 600; text-anchor: middle; }
.house .muted { fill: var(--pst-color-text-muted, #555); }
.house .name { font-family: var(--pst-font-family-monospace, monospace);
  font-size: 13px; font-weight: 600; }
.house .room { fill: var(--pst-color-surface, #f4f4f5);
  stroke: var(--pst-color-border, #bbb); }
.house .waist { stroke: var(--pst-color-warning, #b5702a); stroke-width: 1.5;
  fill: color-mix(in srgb, var(--pst-color-warning, #b5702a) 12%, transparent); }
.house .wall { fill: none; stroke: var(--pst-color-border, #bbb); stroke-width: 1.5; }
.house .mark { fill: var(--pst-color-primary, #0a7d91); }
.house .number { fill: var(--pst-color-background, #fff); font-weight: 700;
  text-anchor: middle; }
"""


# What stands in front of a room and counts to it: how Python runs the command line.
DOORS = {"__main__": "cli"}


def names():
    """The rooms: folders and modules of the package, and the code around it."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - DOORS.keys()
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return [*sorted(modules | folders), *OUTSIDE]


def files_of(room):
    """The files of a room, given its name."""
    place = ROOT if room in OUTSIDE else PACKAGE
    if (place / room).is_dir():
        files = (place / room).rglob("*.py")
        doors = [PACKAGE / f"{door}.py" for door in DOORS if DOORS[door] == room]
        return [
            file
            for file in (*files, *filter(Path.is_file, doors))
            if not _MADE & set(file.relative_to(ROOT).parts)
        ]
    return [*place.glob(room if place == ROOT else f"{room}.py*")]


def _imported(path):
    """Each import of a file as the names from the top, such as geoimages.etl.Images."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = node.module.split(".") if node.module else []
            yield from ([*base, *module, alias.name] for alias in node.names)


def imports():
    """The rooms that each room imports from.

    ``from geoimages import name`` is an import from ``__init__``, which imports from the
    rooms whose names it offers.
    """
    rooms = names()
    found = {}
    for room in rooms:
        found[room] = set()
        for path in files_of(room):
            for top, *rest in _imported(path):
                if top == PACKAGE.name:
                    there = DOORS.get(rest[0], rest[0]) if rest else "__init__"
                    there = there if there in rooms else "__init__"
                    found[room].add(there)
                elif top in OUTSIDE:
                    found[room].add(top)
        found[room].discard(room)
    return found


def floors():
    """The floor of each room: 1 and its longest chain of imports.

    Raises
    ------
    graphlib.CycleError
        If rooms import each other in a circle, which it names.
    """
    graph, floor = imports(), {}
    for room in TopologicalSorter(graph).static_order():
        floor[room] = 1 + max((floor[below] for below in graph[room]), default=0)
    return floor


def about(room):
    """What a room is for: the first line of its docstring."""
    folder = PACKAGE / room
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return text.splitlines()[0].replace("`", "").rstrip(".")


def _text(x, y, text, kind):
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def _room(x, y, width, height, room, lines, below):
    """One room: its name, what it is for, and where something new goes."""
    kind = "waist" if room in WAISTS else "room"
    name = f"{room}/" if (PACKAGE / room).is_dir() else f"{room}.py"
    told = f"{name} imports from {', '.join(sorted(below)) or 'no other room'}"
    yield f"<g><title>{told}</title>"
    yield (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" '
        f'class="{kind}"/>'
    )
    yield _text(x + _PAD, y + 20, name, "name")
    for i, line in enumerate(lines):
        yield _text(x + _PAD, y + 38 + _LINE * i, line, "muted")
    if room in ADDITIONS:
        x, y = x + width - 16, y + 16
        yield f'<circle cx="{x:g}" cy="{y:g}" r="9" class="mark"/>'
        yield _text(x, y + 4.5, str(ADDITIONS[room]), "number")
    yield "</g>"


def _floor(y, rooms, graph):
    """The rooms of one floor side by side, wider where more is to be said."""
    texts = {room: about(room) for room in rooms}
    free = _WIDTH - 2 * _WALL - _GAP * (len(rooms) + 1)
    share = {room: max(len(text), 30) ** 0.6 for room, text in texts.items()}
    widths = {room: free * share[room] / sum(share.values()) for room in rooms}
    lines = {
        room: wrap(texts[room], int((widths[room] - 2 * _PAD) / _LETTER))
        for room in rooms
    }
    height = 32 + _LINE * max(len(text) for text in lines.values())
    parts, x = [], _WALL + _GAP
    for room in rooms:
        parts += _room(x, y, widths[room], height, room, lines[room], graph[room])
        x += widths[room] + _GAP
    return parts, height


def draw():
    """Draw the house as SVG that takes its colors from the page."""
    floor = {room: number for room, number in floors().items() if room not in OUTSIDE}
    graph = imports()
    top, y, parts, told = 52, 52, [], []
    for number in range(max(floor.values()), 0, -1):
        rooms = sorted(room for room in floor if floor[room] == number)
        drawn, height = _floor(y + _GAP, rooms, graph)
        parts += drawn
        y += height + _GAP
        told.append(f"{number}: {', '.join(rooms)}")
    y += _GAP
    middle, left, right = _WIDTH / 2, _WALL, _WIDTH - _WALL
    roof = f"M{left - 8} {top} L{middle:g} 6 L{right + 8} {top} Z"
    walls = f"M{left} {top} V{y} H{right} V{top}"
    parts.append(f'<path d="{roof} {walls}" class="wall"/>')
    parts.append(_text(middle, top - 12, "geoimages", "title"))
    label = "The rooms of geoimages by floor. " + "; ".join(reversed(told)) + "."
    return (
        f'<div class="house"><style>{_STYLE}</style>'
        f'<svg viewBox="0 0 {_WIDTH} {y + 8}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg></div>'
    )
