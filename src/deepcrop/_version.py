"""The version of the package, which hatch reads from here."""

__version__ = "0.1.0.dev0"
