"""X-GACMN: images and texts on one hypersphere, each found by the other."""

__version__ = "0.1.0"
