"""One verb per file; each exports ``command``, or a typer group ``app`` where the verb has commands of its own.

Heavy imports stay inside the functions: a verb starts at once.
"""
