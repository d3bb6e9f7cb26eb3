"""What is wrong with the sidecars of a home and with what they rest on; reads only."""
