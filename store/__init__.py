"""Incremental mining: a store on disk with generations, updates, changes and queries."""
