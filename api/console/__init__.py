"""A page to look at what is served: ``/console``. Its files are in ``static``; nothing of it comes from elsewhere."""
