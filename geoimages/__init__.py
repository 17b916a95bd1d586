"""Classification and similarity search of rock pictures.

Names are imported when they are first used (SPEC 1); `__init__.pyi` lists them.
"""

from importlib.metadata import version as _version

import lazy_loader as _lazy

_MODULES = {
    "cluster",
    "collection",
    "core",
    "datasets",
    "distance",
    "etl",
    "evaluate",
    "features",
    "neural",
    "persist",
    "pictures",
    "search",
    "similarity",
    "visualize",
    "voting",
    "workflows",
}

__version__ = _version("geoimages")
__getattr__, __dir__, _names = _lazy.attach_stub(__name__, __file__)
__all__ = [name for name in _names if name not in _MODULES]
