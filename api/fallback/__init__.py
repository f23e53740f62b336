"""Lists ranked ahead of time, for when the ensemble can't answer: written by one job, read by every adapter."""
