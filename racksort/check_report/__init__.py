"""The report of ``racksort release check`` for people: a table on the terminal, a page with plots."""
