"""Other ways to serve the same answer: same models, same ranking, same pools, each with its recommended settings."""
