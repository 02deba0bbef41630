"""The version of this package, for modules that the top of the package imports."""

__version__ = "0.1.0"
