"""What customers did lately: kept by customer, and given to the models so that the next page reflects it."""
