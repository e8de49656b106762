"""The result made visible: lists on the terminal, one HTML page, pairs to label, and its precision.

Nothing here runs a model. The modules know a result by what it offers (`source.Mined`).
"""
