"""What a document of rules would move: requests ranked without and with it, side by side."""
