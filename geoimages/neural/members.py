"""What a classifier pools: linear model, kernel machine and network, cross-fitted."""

import warnings

import numpy as np
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from .kernel import GAMMA, PENALTIES, ROBUST_PENALTIES, KernelMap, Sums, radial_basis
from .pooling import fit_weights, log_loss_of, pool
from .training import forward, two_logits

LINEAR_C = (1e-3, 1e-2, 0.1, 1.0)  # strengths of the penalty that are tried
SCORE_SCALE = 5.0  # of the kernel machine's scores, so that their weight is about 1
_UNKNOWN = -10.0  # logit of a class that was not learned


def assign_folds(codes, groups, n_folds, rng):
    """Fold of each row, balanced by class, groups in one fold: (n,), (n,) -> (n,)."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = rng.permutation(len(first))
    order = order[np.argsort(codes[first[order]], kind="stable")]
    fold = np.empty(len(first), int)
    fold[order] = np.arange(len(first)) % min(n_folds, len(first))
    return fold[group]


def class_prior(codes, n_classes):
    """Shares of the classes, none of them 0."""
    counts = np.bincount(codes, minlength=n_classes) + 0.5
    return counts / counts.sum()


def fit_linear_path(rows, codes, n_classes, strengths=LINEAR_C):
    """Logistic regressions of growing capacity: list of (weights, biases), or None.

    A network without a hidden layer: where pictures are few, it is often the better one.
    """
    present, local = np.unique(codes, return_inverse=True)
    if len(present) < 2:
        return None
    # Each starts where the one before ended; it converges well before the last digit.
    model = LogisticRegression(max_iter=100, tol=1e-3, warm_start=True)
    path = []
    for c in strengths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Of many classes among few pictures.
            warnings.filterwarnings("ignore", "The number of unique classes")
            model.set_params(C=c).fit(rows, local)
        weight, bias = model.coef_.T, model.intercept_
        if weight.shape[1] == 1:
            (weight,), (bias,) = two_logits([weight]), two_logits([bias])
        weights = np.zeros((rows.shape[1], n_classes), np.float32)
        biases = np.full(n_classes, _UNKNOWN)
        weights[:, present], biases[present] = weight, bias
        path.append(([weights], [biases]))
    return path


def linear_opinion(linear, rows):
    """Log probabilities of a linear model."""
    return log_softmax(forward(rows, *linear)[1], axis=1)


def best_of(opinions, codes, prior):
    """Index and log loss of the best of several opinions, each with its own weight."""
    losses = []
    for opinion in opinions:
        both = np.stack([opinion, np.broadcast_to(prior, opinion.shape)])
        answers = pool(both, fit_weights(both, codes))
        losses.append(log_loss_of(answers, codes).mean())
    return int(np.argmin(losses)), min(losses)


def cross_fit_linear(seen, codes, folds, prior, learned=1):
    """Choose the penalty by answers out of fold.

    `seen` (c, n, p) are the pictures as they are, and copies; the model learns from the
    first `learned` of these. Returns its opinions (c, n, k) out of fold, and its weights
    and biases. With copies the penalty is chosen by answers about them, too.
    """
    opinions = np.zeros((len(LINEAR_C), *seen.shape[:2], len(prior)))
    basis = None
    if learned * len(codes) < seen.shape[2]:
        # The best weights are sums of rows that are learned from: the rest of the space
        # need not be searched.
        basis = np.linalg.qr(seen[:learned].reshape(-1, seen.shape[2]).T)[0]
        seen = seen @ basis

    def path(at, strengths=LINEAR_C):
        rows = seen[:learned, at].reshape(-1, seen.shape[2])
        return fit_linear_path(rows, np.tile(codes[at], learned), len(prior), strengths)

    for fold in range(folds.max() + 1):
        outside = folds == fold
        for opinion, linear in zip(opinions, path(~outside) or (), strict=False):
            for copy, rows in zip(opinion, seen, strict=True):
                copy[outside] = linear_opinion(linear, rows[outside])
    judged = opinions[:, :learned].reshape(len(LINEAR_C), -1, len(prior))
    best, _ = best_of(judged, np.tile(codes, learned), prior)
    every = np.ones(len(codes), bool)
    weights, biases = path(every, LINEAR_C[: best + 1])[-1]
    if basis is not None:
        weights = [basis @ weights[0]]
    return opinions[best], (weights, biases)


def _cross_solve(total, parts, mapped, folds, penalty):
    """Scores by models that did not learn from a fold: c of (n, m) -> (c, n, k)."""
    scores = np.empty((len(mapped), len(folds), total.moment.shape[1]))
    for fold, part in enumerate(parts):
        weights = (total - part).solve(penalty)
        for score, rows in zip(scores, mapped, strict=True):
            score[folds == fold] = rows[folds == fold] @ weights
    return scores


class KernelMachine:
    """Fits the kernel machines of a classifier, which share their landmarks.

    Parameters
    ----------
    rows : ndarray of shape (1 + n_copies, n, p), float32
        The pictures as they are, and augmented copies of them.
    codes : ndarray of shape (n,)
        Classes.
    prior : ndarray of shape (n_classes,)
        Shares of the classes.
    most : int
        Most landmarks among the pictures; half as many may be augmented copies.
    rng : RandomState
        Draws them.
    """

    def __init__(self, rows, codes, prior, most, rng):
        variance = rows[0].var(axis=0, dtype=np.float64).sum()
        self.scale = float(1 / np.sqrt(variance)) if variance > 0 else 1.0
        self.rows, self.codes, self.prior = rows, codes, prior
        landmarks = rows[0, np.sort(rng.permutation(len(codes))[:most])]
        if len(rows) > 1:
            some = rng.permutation(len(codes))[: most // 4]
            copy = rng.randint(1, len(rows), size=len(some))
            landmarks = np.concatenate([landmarks, rows[copy, some]])
        self.map = KernelMap(landmarks * np.float32(self.scale), GAMMA)

    def mapped(self, copy, at=slice(None)):
        """Map pictures of one copy: (n, m) float32."""
        return self.map(self.rows[copy, at] * np.float32(self.scale))

    def targets(self, copy, at=slice(None)):
        """One-hot classes, and whether the picture is as it was: (n, k + 1)."""
        targets = np.eye(len(self.prior))[self.codes[at]] - self.prior
        as_it_was = np.full((len(targets), 1), -1.0 if copy else 1.0)
        return np.hstack([targets, as_it_was])

    def state(self, **coefficients):
        """What `kernel_scores` needs."""
        return {
            "landmarks": self.map.landmarks,
            "scale": self.scale,
            **{part: self.map.coefficients(w) for part, w in coefficients.items()},
        }

    def cross_fit(self, folds):
        """Choose penalties by answers out of fold.

        Returns
        -------
        state : dict
            What `kernel_scores` needs: ``clean`` was learned from the pictures as they
            are, ``robust`` also from their copies, if there are any.
        scores : dict
            Scores (c, n, k + 1) of each out of fold, of the pictures as they are and of
            their first copies.
        """
        every = range(folds.max() + 1)
        seen = [self.mapped(copy) for copy in range(min(2, len(self.rows)))]

        def sums(copy):
            mapped = seen[copy] if copy < 2 else self.mapped(copy)
            targets = self.targets(copy)
            return [Sums.of(mapped[folds == f], targets[folds == f]) for f in every]

        parts = sums(0)
        weights, scores = {}, {}
        weights["clean"], scores["clean"] = self._choose(parts, seen, folds, PENALTIES)
        n_copies = len(self.rows) - 1
        for copy in range(1, n_copies + 1):
            parts = [
                part + other * (1 / n_copies)
                for part, other in zip(parts, sums(copy), strict=True)
            ]
        if n_copies:
            weights["robust"], scores["robust"] = self._choose(
                parts, seen, folds, ROBUST_PENALTIES
            )
        return self.state(**weights), scores

    def _choose(self, parts, seen, folds, penalties):
        total = sum(parts[1:], parts[0])
        answers = [_cross_solve(total, parts, seen, folds, p) for p in penalties]
        opinions = [SCORE_SCALE * scores[0][:, :-1] for scores in answers]
        best = best_of(opinions, self.codes, self.prior)[0]
        return total.solve(penalties[best]), answers[best]


def kernel_scores(state, rows):
    """Scores of rows by each kernel machine: (n, p) -> {part: (n, k + 1)}.

    The last column is the gate's.
    """
    rows = rows.astype(np.float64) * state["scale"]
    basis = radial_basis(rows, state["landmarks"], GAMMA)
    return {part: basis @ state[part] for part in ("clean", "robust") if part in state}
