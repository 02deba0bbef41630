"""Prometheus metrics of the service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "xgacmn_requests", "Answered requests", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "xgacmn_request_seconds", "Seconds until the answer", ["route"], registry=self.registry
        )
        self.items = Gauge("xgacmn_items", "Items in the gallery", registry=self.registry)
        self.model_version = Gauge(
            "xgacmn_model_version", "Version that is served", registry=self.registry
        )
        self.index_errors = Counter(
            "xgacmn_index_errors",
            "Stored writes that an index did not take",
            registry=self.registry,
        )
        self.reloads = Counter(
            "xgacmn_reloads", "Reloads by result", ["result"], registry=self.registry
        )
