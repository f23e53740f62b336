"""The adapter: HTTP in front, candidate products from a catalog, ranking by the Triton ensemble."""
