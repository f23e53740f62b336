"""Grafana dashboards and the Prometheus operator's rules as code; what is generated is committed in k8s/monitoring."""
