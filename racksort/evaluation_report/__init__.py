"""The report of ``racksort evaluate`` for people: brief on the terminal, as Markdown, as a page with plots."""
