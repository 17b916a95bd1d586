"""The picture of the house: floors, rooms and the modules that live in them."""

from html import escape

# From the ground up; a module imports only from its own floor and from those below.
FLOORS = (
    (
        "Pictures",
        "bytes become uint8 pixels, or a reason why not",
        (("one door", "pictures/"), ("whole files", "files persist")),
    ),
    (
        "The collection",
        "one .h5 file: pictures, keys, labels, ledger",
        (
            ("zip and folder → .h5", "collection/"),
            ("drawn and public", "datasets/"),
            ("the original's words", "etl"),
        ),
    ),
    (
        "Features and search",
        "pictures become rows; the nearest rows are found",
        (("pictures → rows", "features/"), ("rows → nearest", "search/")),
    ),
    (
        "Models",
        "scikit-learn estimators",
        (
            ("the ranked table", "similarity/"),
            ("what is alike", "distance cluster"),
            ("what is it", "neural/"),
        ),
    ),
    (
        "Evaluation",
        "how good, how sure, which is better",
        (("scores", "evaluate/"), ("the main jobs", "workflows")),
    ),
    (
        "Faces",
        "what a person meets; nothing below imports them",
        (
            ("figures", "visualize/"),
            ("people's judgements", "voting/"),
            ("shell", "cli/ __main__"),
        ),
    ),
)

# Where something new goes, as numbered on the page.
ADDITIONS = {"features/": 1, "search/": 2, "similarity/": 3, "evaluate/": 4}
ADDITIONS |= {"visualize/": 5, "cli/": 6}

_WIDTH, _WALL, _GAP = 760, 20, 10
_FLOOR, _WAIST, _ROOM = 122, 62, 66
_STYLE = """
.house { overflow-x: auto; margin: 1.5rem 0; }
.house svg { width: 100%; min-width: 620px; max-width: 860px; display: block; }
.house text { fill: var(--pst-color-text-base, #222); font-size: 13px;
  font-family: var(--pst-font-family-base, sans-serif); }
.house .title { font-size: 15px; font-weight: 600; }
.house .muted { fill: var(--pst-color-text-muted, #555); font-size: 12px; }
.house .module { font-family: var(--pst-font-family-monospace, monospace);
  font-size: 12px; }
.house .floor { fill: none; stroke: var(--pst-color-border, #bbb); }
.house .room { fill: var(--pst-color-surface, #f4f4f5);
  stroke: var(--pst-color-border, #bbb); }
.house .waist { stroke: var(--pst-color-warning, #b5702a); stroke-width: 1.5;
  fill: color-mix(in srgb, var(--pst-color-warning, #b5702a) 12%, transparent); }
.house .roof { fill: none; stroke: var(--pst-color-border, #bbb); stroke-width: 1.5; }
.house .mark { fill: var(--pst-color-primary, #0a7d91); }
.house .number { fill: var(--pst-color-background, #fff); font-weight: 700;
  font-size: 12px; text-anchor: middle; }
"""


def modules():
    """Floor of each module or folder of the package, counted from the ground."""
    return {
        name: number
        for number, (_, _, rooms) in enumerate(FLOORS)
        for text in ([rooms] if isinstance(rooms, str) else [room[1] for room in rooms])
        for name in text.replace("/", "").split()
    }


def _text(x, y, text, kind, **more):
    options = "".join(f' {k.replace("_", "-")}="{v}"' for k, v in more.items())
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{options}>{escape(text)}</text>'


def _box(x, y, width, height, kind):
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
        f'class="{kind}"/>'
    )


def _lines(names, width):
    """Break names into lines of a width in pixels."""
    lines = [""]
    for name in names.split():
        longer = f"{lines[-1]} {name}".strip()
        if len(longer) * 7.3 > width and lines[-1]:
            lines.append(name)
        else:
            lines[-1] = longer
    return lines


def _room(x, y, width, caption, names):
    """One room: what it is for, and who lives in it."""
    parts = [_box(x, y, width, _ROOM, "room"), _text(x + 10, y + 20, caption, "muted")]
    for i, line in enumerate(_lines(names, width - 20)):
        parts.append(_text(x + 10, y + 39 + 16 * i, line, "module"))
    for name, number in ADDITIONS.items():
        if name in names.split():
            parts.append(
                f'<circle cx="{x + width - 16}" cy="{y + 16}" r="9" class="mark"/>'
            )
            parts.append(_text(x + width - 16, y + 20.5, str(number), "number"))
    return parts


def _floor(y, title, about, rooms):
    """One floor with its rooms side by side, as wide as what they hold."""
    inside = _WIDTH - 2 * _WALL
    parts = [_box(_WALL, y, inside, _FLOOR - _GAP, "floor")]
    parts.append(
        f'<text x="{_WALL + 12}" y="{y + 23}"><tspan class="title">{escape(title)}'
        f'</tspan><tspan class="muted" dx="10">{escape(about)}</tspan></text>'
    )
    share = [max(len(names), len(caption), 16) ** 0.7 for caption, names in rooms]
    free, x = inside - _GAP * (len(rooms) + 1), _WALL + _GAP
    for part, (caption, names) in zip(share, rooms, strict=True):
        width = free * part / sum(share)
        parts += _room(x, y + 36, width, caption, names)
        x += width + _GAP
    return parts


def _waist(y, title, about, module):
    """A narrow place that everything above and below meets in."""
    width = 420
    x = (_WIDTH - width) / 2
    return [
        _box(x, y, width, _WAIST - _GAP, "waist"),
        _text(x + 14, y + 21, title, "title"),
        _text(x + width - 14, y + 21, f"{module}.py", "module", text_anchor="end"),
        _text(x + 14, y + 40, about, "muted"),
    ]


def draw():
    """Draw the house as SVG that takes its colors from the page."""
    parts, y = [], 52
    middle = _WIDTH / 2
    roof = f"M{_WALL - 8} {y - 8} L{middle} 8 L{_WIDTH - _WALL + 8} {y - 8} Z"
    parts.append(f'<path d="{roof}" class="roof"/>')
    parts.append(_text(middle, y - 16, "geoimages", "title", text_anchor="middle"))
    for title, about, rooms in reversed(FLOORS):
        if isinstance(rooms, str):
            parts += _waist(y, title, about, rooms)
            y += _WAIST
        else:
            parts += _floor(y, title, about, rooms)
            y += _FLOOR
    parts.append(
        _text(
            middle,
            y + 12,
            "a zip or a folder of pictures",
            "muted",
            text_anchor="middle",
        )
    )
    told = (
        "The house of geoimages, from the ground up: "
        + "; ".join(f"{title}: {about}" for title, about, _ in FLOORS)
        + "."
    )
    return (
        f'<div class="house"><style>{_STYLE}</style>'
        f'<svg viewBox="0 0 {_WIDTH} {y + 24}" role="img" aria-label="{escape(told)}">'
        f"{''.join(parts)}</svg></div>"
    )
