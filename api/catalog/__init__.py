"""Where candidate products come from: the ``Catalog`` protocol and its implementations, one per file."""
