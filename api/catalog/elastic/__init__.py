"""Candidates from Elasticsearch."""
