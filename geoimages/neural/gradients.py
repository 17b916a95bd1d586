"""Forward pass, backpropagation and Adam for the embedding network."""

import numpy as np

_SHORTEST = 1e-12  # shorter rows have no direction


def embed(rows, weights, biases):
    """Rows through the network: (n, p) -> unit (n, d), their lengths (n, 1), layers."""
    layers = [rows]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        layers.append(np.maximum(layers[-1] @ weight + bias, 0))
    raw = layers[-1] @ weights[-1] + biases[-1]
    length = np.sqrt(np.einsum("ij,ij->i", raw, raw))[:, None]
    length = np.maximum(length, raw.dtype.type(_SHORTEST))
    return raw / length, length, layers


def backpropagate(gradient, unit, length, layers, weights):
    """Gradient of the unit rows (n, d) -> gradients of weights and biases."""
    # The Jacobian of x / |x| is (I − u uᵀ) / |x| with u = x / |x|: the part of the
    # gradient along a row only changes its length, which normalization takes away.
    gradient = gradient - unit * np.einsum("ij,ij->i", gradient, unit)[:, None]
    gradient = gradient / length * (length > gradient.dtype.type(_SHORTEST))
    by_weights, by_biases = [], []
    for layer, weight in zip(layers[::-1], weights[::-1], strict=True):
        by_weights.insert(0, layer.T @ gradient)
        by_biases.insert(0, gradient.sum(axis=0))
        if layer is not layers[0]:
            gradient = (gradient @ weight.T) * (layer > 0)  # ReLU passes or blocks
    return by_weights, by_biases


class Adam:
    """Adam with decoupled weight decay (AdamW), in place.

    References
    ----------
    Kingma and Ba (2015). Adam: a method for stochastic optimization. ICLR.

    Loshchilov and Hutter (2019). Decoupled weight decay regularization. ICLR.
    """

    def __init__(self, weights, biases, alpha):
        self.parameters = [*weights, *biases]
        # Biases do not decay: they set where a unit opens, not how steep it is.
        self.decays = [alpha] * len(weights) + [0.0] * len(biases)
        self.means = [np.zeros_like(values) for values in self.parameters]
        self.squares = [np.zeros_like(values) for values in self.parameters]
        self.steps = 0

    def step(self, gradients, rate):
        self.steps += 1
        # Both running means start at zero and are too small by 1 − βᵗ; the ratio of
        # the two corrections is a factor of the learning rate.
        corrected = rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for values, decay, gradient, mean, square in zip(
            self.parameters,
            self.decays,
            gradients,
            self.means,
            self.squares,
            strict=True,
        ):
            mean += np.float32(0.1) * (gradient - mean)
            square += np.float32(0.001) * (gradient * gradient - square)
            values *= np.float32(1 - rate * decay)
            values -= (
                np.float32(corrected) * mean / (np.sqrt(square) + np.float32(1e-8))
            )
