"""Files on disk: resumable folders, atomic files, progress."""
