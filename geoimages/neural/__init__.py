"""Neural networks: the classifier, and embeddings learned from labels."""

from .classifier import ConvNetClassifier
from .embedding import MLPEmbedding
from .triplets import TripletEmbedding

__all__ = ["ConvNetClassifier", "MLPEmbedding", "TripletEmbedding"]
