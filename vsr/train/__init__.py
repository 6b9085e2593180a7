"""Training of the networks in `vsr.models`."""
