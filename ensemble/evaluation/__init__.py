"""Offline evaluation: what the served ensemble recommends against honest baselines, week by week."""
