"""Business rules: what a shop decides about its pages, as versioned data."""
