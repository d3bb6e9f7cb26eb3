"""The package that ``demo`` shows; ``tests/make_sample.py`` makes it."""
