"""Releases in traffic: which serve, who gets which, and how another comes in beside them."""
