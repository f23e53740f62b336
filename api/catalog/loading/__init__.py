"""Puts a catalog's products and containers into Elasticsearch."""
