"""Answers that explain themselves: how each product came to its place, and why another isn't shown."""
