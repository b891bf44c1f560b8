"""Power cuts: a controller is watched as it writes, and its files are made as a cut would have left them."""
