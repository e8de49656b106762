"""A corpus that is mined as it changes: a store, its generations, and questions put to it."""
