"""What the adapter tells of single requests: traces and log lines. Figures of all requests are metrics."""
