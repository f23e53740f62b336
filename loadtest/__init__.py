"""Load generators and the peers they are compared with. Traffic goes to loopback only and ends by itself."""
