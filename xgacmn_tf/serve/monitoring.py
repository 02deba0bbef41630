"""What the server tells Prometheus about itself."""

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts of one server, under `xgacmn_serving_…`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "xgacmn_serving_requests",
            "Prediction requests that could be read; names that do not exist are left out.",
            ("model", "signature", "protocol", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "xgacmn_serving_request_seconds",
            "From the parsed request to the unwritten answer.",
            ("model", "signature", "protocol"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._batch_rows = Histogram(
            "xgacmn_serving_batch_rows",
            "Rows of the batches that were run, without padding.",
            ("model", "signature"),
            buckets=ROWS,
            registry=self._registry,
        )
        self._queued_rows = Gauge(
            "xgacmn_serving_queued_rows",
            "Rows that wait to be run.",
            ("model", "signature"),
            registry=self._registry,
        )
        self._loaded = Gauge(
            "xgacmn_serving_version_loaded",
            "1 for each version that answers.",
            ("model", "version"),
            registry=self._registry,
        )

    def request(
        self, model: str, signature: str, protocol: str, status: str, seconds: float
    ) -> None:
        self._requests.labels(model, signature, protocol, status).inc()
        self._seconds.labels(model, signature, protocol).observe(seconds)

    def batch(self, model: str, signature: str, rows: int) -> None:
        self._batch_rows.labels(model, signature).observe(rows)

    def queued(self, model: str, signature: str, rows: int) -> None:
        """`rows` more, or fewer, wait."""
        self._queued_rows.labels(model, signature).inc(rows)

    def loaded(self, model: str, version: int) -> None:
        self._loaded.labels(model, version).set(1)

    def unloaded(self, model: str, version: int) -> None:
        self._loaded.remove(model, version)

    async def page(self, request: web.Request) -> web.Response:
        """Prometheus' text format."""
        del request
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})
