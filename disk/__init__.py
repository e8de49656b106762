"""Files on disk: atomic writes, folders replaced whole, locks, work that is continued."""
