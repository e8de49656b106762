"""Metrics with intervals, splits, and evaluations of models and runs; fits and trains nothing."""
