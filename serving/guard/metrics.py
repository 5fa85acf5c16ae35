"""Counters for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Of one guard. No label holds anything that a client chose."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "guard_requests", "Requests by verdict and stage.", ["verdict", "stage"], registry=self.registry
        )
        self.rules = Counter("guard_rules", "Refusals and masks by rule.", ["rule"], registry=self.registry)
        buckets = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
        self.checks = Histogram(
            "guard_check_seconds", "Seconds from the whole body to forwarding.", registry=self.registry, buckets=buckets
        )
        self.running = Gauge("guard_running", "Requests that are answered now.", registry=self.registry)
        self.waiting = Gauge("guard_waiting", "Requests that wait for a place.", registry=self.registry)
        self.images_waiting = Gauge(
            "guard_images_waiting", "Images that are or wait to be looked at.", registry=self.registry
        )
        self.images_known = Gauge(
            "guard_images_known", "Looks at an image that were not needed.", registry=self.registry
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
