"""Stage 2: the cross-encoder that decides what is a duplicate."""
