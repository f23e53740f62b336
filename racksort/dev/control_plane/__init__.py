"""Kubernetes' real control plane over simulated nodes, for tests: built from source, run on loopback."""
