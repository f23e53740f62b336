"""How many cores so many requests take: what was measured on one machine, a simulation of it, and nodes for more."""
