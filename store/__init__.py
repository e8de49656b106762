"""A corpus that is mined as it changes: the store, its generations, updates and queries."""
