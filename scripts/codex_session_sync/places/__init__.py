"""Where sessions work: directories of other machines, and the ones here that stand for them."""
