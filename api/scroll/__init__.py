"""Infinite scroll without a session: the cursor itself carries what the next page needs (docs/scroll.md)."""
