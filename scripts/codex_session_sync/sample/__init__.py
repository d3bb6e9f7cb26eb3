"""The packages that ``demo`` shows; ``tests/make_sample.py`` makes them."""
