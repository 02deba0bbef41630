"""Scripts of the maintainers, which are not installed: they rebuild the bundled data sets."""
