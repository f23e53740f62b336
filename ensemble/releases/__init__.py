"""Releases in a model repository: what belongs to one, and how one gets in, is verified and goes."""
