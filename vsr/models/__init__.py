"""Networks, one file per architecture, and how weights files are read."""
