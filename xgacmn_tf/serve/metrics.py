"""Prometheus metrics of a service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Prometheus metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        labels = ["route", "status"]
        self.requests = Counter("xgacmn_requests", "Answered requests", labels, registry=own)
        self.seconds = Histogram(
            "xgacmn_request_seconds", "Seconds until the answer", ["route"], registry=own
        )
        self.items = Gauge("xgacmn_items", "Items in the gallery", registry=own)
        self.version = Gauge("xgacmn_model_version", "Version that is served", registry=own)
        self.index_errors = Counter(
            "xgacmn_index_errors", "Stored writes that an index did not take", registry=own
        )
        self.reloads = Counter("xgacmn_reloads", "Reloads by result", ["result"], registry=own)
