"""Whether a candidate release may be published (docs/releases.md, "Check")."""
