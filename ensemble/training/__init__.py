"""Training: from purchases to fitted weights. Nothing here is needed to serve."""
