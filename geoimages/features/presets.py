"""Input formats and layers of known networks."""

from types import MappingProxyType

import numpy as np

from ..pictures.resizing import FITS, check_size

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CAFFE = {
    "channels": "BGR",
    "scale": 1.0,
    "mean": (123.68, 116.779, 103.939),
    "std": 1.0,
}
_DEFAULTS = {
    "size": 224,
    "channels": "RGB",
    "scale": 1 / 255,
    **_IMAGENET,
    "fit": "crop",
    "layer": None,
    "pool": "mean",
    "n_features": None,
}
_PENULTIMATE = {"layer": "penultimate"}
_EFFICIENTNET = {
    "mean": 127 / 255,
    "std": 128 / 255,
    "layer": ("stage5", "stage6", "stage7"),
    "pool": "mean_std",
}
POOLS = ("mean", "max", "mean_std")

PRESETS = MappingProxyType(
    {
        name: MappingProxyType({**_DEFAULTS, **rule})
        for name, rule in {
            "efficientnet-lite0": {**_EFFICIENTNET, "n_features": 1248},
            "efficientnet-lite2": {**_EFFICIENTNET, "size": 260, "n_features": 1360},
            "dinov2-small": {"n_features": 384},
            "resnet50": {**_PENULTIMATE, "n_features": 2048},
            "resnet50-keras": {**_PENULTIMATE, **_CAFFE, "n_features": 2048},
            "vgg16": {**_PENULTIMATE, "n_features": 4096},
            "vgg16-keras": {**_PENULTIMATE, **_CAFFE, "n_features": 4096},
            "squeezenet": {
                **_PENULTIMATE,
                **_CAFFE,
                "mean": 0.0,
                "n_features": 512,
            },
        }.items()
    }
)
"""Input format and layer of each known network."""


def check_rule(preset, base=None):
    """Return the whole rule that a preset stands for, or a dict of changes to another.

    `base` is the name of the rule to change, the defaults if None.
    """
    base = _DEFAULTS if base is None else PRESETS[base]
    if preset is None:
        return dict(base)
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(
                f"preset={preset!r} is not known; expected one of "
                f"{', '.join(PRESETS)}, or a dict with any of {', '.join(_DEFAULTS)}."
            )
        return dict(PRESETS[preset])
    if not isinstance(preset, dict | MappingProxyType):
        raise TypeError(f"preset is a name, a dict or None, got {preset!r}.")
    unknown = [key for key in preset if key not in _DEFAULTS]
    if unknown:
        raise ValueError(
            f"A preset has no {unknown[0]!r}; it may have {', '.join(_DEFAULTS)}."
        )
    rule = {**base, **preset}
    if rule["channels"] not in ("RGB", "BGR"):
        raise ValueError(f"channels is 'RGB' or 'BGR', got {rule['channels']!r}.")
    if rule["fit"] not in FITS:
        raise ValueError(f"fit is one of {FITS}, got {rule['fit']!r}.")
    if rule["pool"] not in POOLS:
        raise ValueError(f"pool is 'mean', 'max' or 'mean_std', got {rule['pool']!r}.")
    layer = rule["layer"]
    names = layer if isinstance(layer, list | tuple) and layer else [layer or ""]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(
            "layer is a name, as layers() lists them, a list of names, or None; got "
            f"{layer!r}."
        )
    for key, shapes in {"scale": ((),), "mean": ((), (3,)), "std": ((), (3,))}.items():
        try:
            values = np.asarray(rule[key], np.float64)
        except (TypeError, ValueError):
            values = np.full(0, np.nan)
        zero = key == "std" and not values.all()
        if values.shape not in shapes or not np.isfinite(values).all() or zero:
            kind = "one number" if key == "scale" else "a number or three (R, G, B)"
            raise ValueError(
                f"{key} is {kind}{', none 0' if key == 'std' else ''}; got "
                f"{rule[key]!r}."
            )
    return rule


def size_of(rule):
    size = rule["size"]
    return check_size((size, size) if np.ndim(size) == 0 else size)
