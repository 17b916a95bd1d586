"""The last layer of an embedding, changed by similarity judgments."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from .gradients import backpropagate, embed
from .mining import judgment_loss

ITERATIONS = 200
_DOUBT = 0.1  # scale of the logistic loss, in squared distance
_STIFFNESS = (np.inf, 2000.0, 600.0, 200.0, 60.0, 20.0)  # that are tried
_N_FOLDS = 3


class JudgedLayer:
    """A last layer that judgments change: rows before it (n, p), weights (p, d)."""

    def __init__(self, rows, weights, bias, triplets, sample_weight):
        n, p = rows.shape
        # The change lies in the span of the rows: the penalty keeps the rest at 0.
        self.axes = np.linalg.qr(rows.T)[0] if n < p else np.eye(p)
        self.rows = rows @ self.axes
        self.start = rows @ weights + bias
        self.square = np.sum(weights**2) / weights.shape[1]  # of an axis's length
        self.triplets, self.sample_weight = triplets, sample_weight

    def _unit(self, change):
        return embed(self.rows, [change], [self.start])[:2]

    def fit(self, stiffness, change, part=..., n_steps=ITERATIONS, report=None):
        """Fit the change (r, d) to a part of the judgments: change, losses."""
        triplets, weight = self.triplets[part], self.sample_weight[part]
        shares = weight / weight.sum()
        # Minimize Σ wᵢ lossᵢ + stiffness |Δ|² / (mean squared length of an axis),
        # all over Σ wᵢ: more judgments outweigh the same penalty.
        penalty = stiffness / weight.sum() / self.square
        losses, shape = [], change.shape

        def objective(flat):
            change = flat.reshape(shape)
            unit, length = self._unit(change)
            loss, gradient = judgment_loss(unit, triplets, shares, _DOUBT)
            (gradient,), _ = backpropagate(gradient, unit, length, [self.rows], [None])
            gradient = gradient + 2 * penalty * change
            return loss + penalty * np.sum(change**2), gradient.ravel()

        def note(intermediate_result):
            losses.append(float(intermediate_result.fun))
            if report is not None:
                report()

        found = minimize(
            objective,
            change.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=note,
            options={"maxiter": n_steps},
        )
        return found.x.reshape(shape), losses

    def unchanged(self):
        return np.zeros((self.rows.shape[1], self.start.shape[1]))

    def choose(self, groups, rng):
        """Choose the stiffness by cross-validation: stiffness, score of each tried.

        The stiffest within a standard error of the best, so that judgments of which
        nothing can be learned mostly change nothing. Those of one group, of the
        anchors, are in one fold.
        """
        _, group = np.unique(groups[self.triplets[:, 0]], return_inverse=True)
        n_groups = group.max() + 1
        weight = self.sample_weight
        fold = (rng.permutation(n_groups) % _N_FOLDS)[group]
        parts = [fold == k for k in range(_N_FOLDS)]
        if not all(weight[part].any() for part in parts):
            return _STIFFNESS[1], {}
        agreement = np.empty((len(_STIFFNESS), len(weight)))
        for part in parts:
            change = self.unchanged()
            for row, stiffness in zip(agreement, _STIFFNESS, strict=True):
                if np.isfinite(stiffness):
                    change, _ = self.fit(stiffness, change, ~part, ITERATIONS // 5)
                unit, _ = self._unit(change)
                a, b, c = self.triplets[part].T
                margin = 2 * np.einsum("ij,ij->i", unit[a], unit[b] - unit[c])
                row[part] = expit(margin / _DOUBT)
        scores = agreement @ weight / weight.sum()
        behind = agreement[scores.argmax()] - agreement
        lost = behind @ weight / weight.sum()
        # The judgments of one anchor are not independent: errors add up by group.
        errors = [
            np.bincount(group, weight * (row - mean))
            for row, mean in zip(behind, lost, strict=True)
        ]
        error = np.sqrt(np.square(errors).sum(axis=1)) / weight.sum()
        chosen = _STIFFNESS[np.flatnonzero(lost <= error)[0]]
        names = [f"{stiffness:g}" for stiffness in _STIFFNESS]
        return chosen, dict(zip(names, scores.tolist(), strict=True))
