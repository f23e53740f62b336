"""What stands between the network and the app: limits of time and size, and an orderly end."""
