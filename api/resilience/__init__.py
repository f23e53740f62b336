"""What keeps answers coming in time, whatever breaks: budgets, limiter, breaker."""
