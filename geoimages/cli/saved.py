"""Features of a saved model, named after its file."""

from pathlib import Path

from sklearn.frozen import FrozenEstimator

from ..pictures.validation import OtherSizeError


class SavedFeatures(FrozenEstimator):
    """Fitted features that name their file when printed and in errors."""

    def __init__(self, estimator, path):
        super().__init__(estimator)
        self.path = Path(path)

    def __repr__(self, N_CHAR_MAX=700):
        return f"features of {self.path.name}"

    def _identity(self):
        """What the result depends on: not the file's name."""
        return getattr(self.estimator, "_identity", lambda: self.estimator)()

    def transform(self, X):
        """Transform pictures of the size that the model was fitted on."""
        try:
            return self.estimator.transform(X)
        except OtherSizeError as error:
            (height, width), given = error.expected[:2], error.given[:2]
            if given == (height, width):
                raise
            raise ValueError(
                f"The pictures are {given[0]} × {given[1]}, {self.path.name} was fitted "
                f"on {height} × {width}; create the collection with 'geoimages etl "
                f"--size {height} {width}'."
            ) from error
