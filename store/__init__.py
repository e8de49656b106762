"""A run on disk: its tables, its manifest, and writing them whole or not at all."""
