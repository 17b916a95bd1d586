"""The proof of concept's ConvNet, in PyTorch."""

import numpy as np

try:
    import torch
    from torch import nn
except ImportError:  # the benchmarks leave this rival out
    torch = None


class OriginalConvNet:
    """Pad 2, two rounds of 3 × 3 convolution, batch norm, pool and dropout, dense.

    Parameters
    ----------
    epochs, batch_size : int
        5 and 16 as in the proof of concept.
    random_state : int
        Seed.
    """

    def __init__(self, epochs=5, batch_size=16, random_state=0):
        self.epochs, self.batch_size = epochs, batch_size
        self.random_state = random_state

    def fit(self, images, y):
        torch.manual_seed(self.random_state)
        self.classes_, target = np.unique(y, return_inverse=True)
        self.network_ = nn.Sequential(
            nn.ZeroPad2d(2),
            nn.Conv2d(3, 32, 3),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.3),
            nn.Conv2d(32, 64, 3),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.LazyLinear(len(self.classes_)),
        )
        x, target = self._tensor(images), torch.from_numpy(target)
        self.network_(x[:2])
        optimizer = torch.optim.Adam(self.network_.parameters())
        loss = nn.CrossEntropyLoss()
        self.network_.train()
        for _ in range(self.epochs):
            for batch in torch.randperm(len(x)).split(self.batch_size):
                optimizer.zero_grad()
                loss(self.network_(x[batch]), target[batch]).backward()
                optimizer.step()
        return self

    def predict(self, images):
        self.network_.eval()
        with torch.no_grad():
            parts = [self.network_(part) for part in self._tensor(images).split(1024)]
        return self.classes_[torch.cat(parts).argmax(1).numpy()]

    @staticmethod
    def _tensor(images):
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
