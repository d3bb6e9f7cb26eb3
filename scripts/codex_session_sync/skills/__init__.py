"""Skills of a package: compared with those of the home, installed where that is asked for."""
