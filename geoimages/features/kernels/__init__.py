"""Feature kernels: arrays in, arrays out, many pictures at a time.

Shapes: ``n`` pictures of ``h`` by ``w`` pixels; ``mask`` is a boolean ``(n, h, w)``,
True on rock, or None where every pixel counts. Nothing here validates and nothing here
is an estimator: the caller hands over pictures of one size, three channels, uint8 in
0-255 or float in 0-1, in chunks of about 64 small pictures (`chunk_length`), so that
the planes stay in the processor's cache. No column count depends on ``h`` or ``w``.
"""

from .colors import COLOR_LEVELS, color_statistics, tone_statistics
from .distributions import (
    covariance_statistics,
    plane_quantiles,
    quantiles,
    soft_histogram,
)
from .fisher import (
    fisher_vectors,
    gradients_of_moments,
    halve_colors,
    window_moments,
)
from .hog import hog, window_hog
from .patches import (
    PATCH_FLOOR,
    extract_patches,
    fold_filters,
    normal_patches,
    normalize_patches,
    patch_means,
    patches_inside,
    pooled_responses,
    whitening,
    window_responses,
)
from .planes import (
    MINIMUM_SIDE,
    at_least,
    box_sum,
    chunk_length,
    erode,
    gradients,
    halve,
    laplacian,
)
from .texture import (
    GRADIENT_LEVELS,
    LAPLACIAN_LEVELS,
    N_PATTERNS,
    PATTERN_CLASS,
    lbp_codes,
    lbp_histogram,
    orientation_statistics,
    texture_statistics,
)

__all__ = [
    "COLOR_LEVELS",
    "GRADIENT_LEVELS",
    "LAPLACIAN_LEVELS",
    "MINIMUM_SIDE",
    "N_PATTERNS",
    "PATCH_FLOOR",
    "PATTERN_CLASS",
    "at_least",
    "box_sum",
    "chunk_length",
    "color_statistics",
    "covariance_statistics",
    "erode",
    "extract_patches",
    "fisher_vectors",
    "fold_filters",
    "gradients",
    "gradients_of_moments",
    "halve",
    "halve_colors",
    "hog",
    "laplacian",
    "lbp_codes",
    "lbp_histogram",
    "normal_patches",
    "normalize_patches",
    "orientation_statistics",
    "patch_means",
    "patches_inside",
    "plane_quantiles",
    "pooled_responses",
    "quantiles",
    "soft_histogram",
    "texture_statistics",
    "tone_statistics",
    "whitening",
    "window_hog",
    "window_moments",
    "window_responses",
]
