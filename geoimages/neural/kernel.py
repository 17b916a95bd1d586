"""A kernel machine: regularized least squares on a radial basis, by landmarks."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

GAMMA = 0.7  # of exp(-γ d²), where the rows have a total variance of 1
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
ROBUST_PENALTIES = (0.03, 0.3)
_JITTER = 1e-3  # on the diagonal: float32 is enough then
_BLOCK = 2048  # rows at a time


def radial_basis(rows, landmarks, gamma):
    """exp(-γ d²) of rows (n, p) and landmarks (m, p): (n, m), of the rows' dtype."""
    landmarks = landmarks.astype(rows.dtype, copy=False)
    out = np.empty((len(rows), len(landmarks)), rows.dtype)
    lengths = np.square(landmarks).sum(axis=1)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        square = out[start : start + _BLOCK]
        np.matmul(block, landmarks.T, out=square)
        square *= -2
        square += np.square(block).sum(axis=1)[:, None]
        square += lengths
        np.maximum(square, 0, out=square)
        square *= -gamma
        np.exp(square, out=square)
    return out


class KernelMap:
    """Map rows so that their inner products are those of the kernel (Nyström).

    Exact on the landmarks, and so for every model of rows that are among them.

    References
    ----------
    Williams and Seeger (2001). Using the Nyström method to speed up kernel machines.
    NIPS.
    """

    def __init__(self, landmarks, gamma):
        self.landmarks, self.gamma = landmarks, gamma
        kernel = radial_basis(landmarks, landmarks, gamma).astype(np.float64)
        kernel[np.diag_indices(len(kernel))] += _JITTER
        root = cholesky(kernel, lower=True, overwrite_a=True)
        inverse = solve_triangular(root, np.eye(len(root)), lower=True)
        self.half = np.ascontiguousarray(inverse.T)

    def __call__(self, rows):
        """Map rows: (n, p) -> (n, m) float32."""
        kernel = radial_basis(rows, self.landmarks, self.gamma)
        return kernel @ self.half.astype(np.float32)

    def coefficients(self, weights):
        """Weights of mapped columns as weights of the landmarks: (m, k) -> (m, k)."""
        return self.half @ weights


class Sums:
    """Gram matrix and moments of mapped rows with their targets."""

    def __init__(self, gram, moment):
        self.gram, self.moment = gram, moment

    @classmethod
    def of(cls, mapped, targets):
        """Those of rows (n, m) with targets (n, k)."""
        gram = (mapped.T @ mapped).astype(np.float64)
        return cls(gram, mapped.T.astype(np.float64) @ targets)

    def __add__(self, other):
        return Sums(self.gram + other.gram, self.moment + other.moment)

    def __sub__(self, other):
        return Sums(self.gram - other.gram, self.moment - other.moment)

    def __mul__(self, weight):
        return Sums(self.gram * weight, self.moment * weight)

    def solve(self, penalty):
        """Weights that minimize the squared errors plus the penalty: (m, k)."""
        system = self.gram.copy()
        system[np.diag_indices(len(system))] += penalty
        factor = cho_factor(system, overwrite_a=True, check_finite=False)
        return cho_solve(factor, self.moment, check_finite=False)
