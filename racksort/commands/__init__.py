"""One verb per file; each exports ``command``. Heavy imports stay inside the functions: a verb starts at once."""
