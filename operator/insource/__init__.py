"""Insource: take your commodity AI work back from vendors, on your own accelerators."""

__version__ = "0.1.0"
