"""What every rendered overlay must keep to. A policy takes the objects and returns what breaks it, one line each."""
