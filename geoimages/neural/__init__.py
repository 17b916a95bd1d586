"""Neural networks: a classifier, and embeddings trained on labels or triplets."""

from .classifier import ConvNetClassifier
from .embedding import MLPEmbedding
from .triplets import TripletEmbedding

__all__ = ["ConvNetClassifier", "MLPEmbedding", "TripletEmbedding"]
