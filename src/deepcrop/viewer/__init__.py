"""The map viewer: a finished map in the browser, served on this machine alone (docs/viewer.md)."""
