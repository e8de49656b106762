"""Reading the user's documents."""

from .memory import corpus_from
from .reader import read_corpus

__all__ = ["corpus_from", "read_corpus"]
