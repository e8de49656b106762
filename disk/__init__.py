"""Files on disk: atomic writes, atomic replacement of folders, locks, resumable work."""
