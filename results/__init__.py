"""The result of a run: tables, manifest, explanations, and the folder that holds them."""
