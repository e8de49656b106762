"""Stage 1: the bi-encoder, its index, and the pairs it proposes."""
