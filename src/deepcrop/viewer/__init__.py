"""Show a finished map in the browser; the server answers this machine only (docs/viewer.md)."""
