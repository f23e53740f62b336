"""Synthetic releases of any size, to see what a release costs at millions of customers."""
