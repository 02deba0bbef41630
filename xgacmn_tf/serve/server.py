"""The process of the service: socket, signals, start and end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from pathlib import Path

import anyio.to_thread
import uvicorn

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.file_lock import locked
from xgacmn_tf.serve.app import make_app
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.options import ServiceOptions
from xgacmn_tf.serve.service import Service
from xgacmn_tf.settings.command_line import configure_logging

API_KEY = "XGACMN_API_KEY"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_MIN_KEY = 16
logger = logging.getLogger(__name__)


def serve(options: ServiceOptions) -> None:
    """Serve until the process gets SIGTERM or SIGINT.

    Raises:
      InputError: the options do not fit, the model cannot be served, the address is taken, or
        another service uses the folder of items.
    """
    key = _api_key(options)
    os.umask(0o077)  # Items are nobody else's to read.
    configure_logging(logging.StreamHandler())
    # Milvus Lite logs tracebacks of optional calls that it does not implement.
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
    folder = options.items_folder
    # A run folder may come from somebody else; the database would be written wherever a link leads.
    database = (folder / "items.db").resolve()
    if not options.items_dir and not database.is_relative_to(Path(str(options.run)).resolve()):
        raise InputError(
            f"{folder} is linked to {database.parent}, outside the run folder; delete the link, or "
            "name the folder with --items_dir"
        )
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_free = stack.enter_context(locked(folder / "items.lock"))
        except OSError as error:
            raise InputError(
                f"--items_dir={folder}: cannot be written ({error.strerror}); name a folder where "
                "you may create files"
            ) from error
        if not is_free:
            raise InputError(
                f"--items_dir={folder}: another service uses {folder / 'items.db'}; end it, or "
                "name another folder"
            )
        service = Service(options)
        stack.callback(service.store.close)
        try:
            asyncio.run(_serve(service, key, _allowed_hosts(options), _bound_socket(options)))
        except RequestError as error:  # The encoder does not answer.
            raise InputError(str(error)) from error


async def _serve(
    service: Service, key: str | None, hosts: frozenset[str] | None, listening: socket.socket
) -> None:
    anyio.to_thread.current_default_thread_limiter().total_tokens = service.options.threads
    config = uvicorn.Config(
        make_app(service, key, hosts), log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=20, proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()
    # uvicorn ends on this signal, and raises it again afterwards: that is no failure here.
    signal.signal(signal.SIGTERM, server.handle_exit)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, _reload, service))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await asyncio.to_thread(service.reload)
        if not server.should_exit:  # A signal may have come meanwhile.
            host, port = listening.getsockname()[:2]
            print(f"serving: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    except BaseException:
        server.should_exit = True
        await task
        raise
    await task


def _reload(service: Service) -> None:
    try:
        service.reload()
    except (InputError, RequestError) as error:
        logger.error("the earlier version is still served: %s", error)
    except Exception:
        logger.exception("the earlier version is still served")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _api_key(options: ServiceOptions) -> str | None:
    key = os.environ.get(API_KEY, "").strip() or None
    source = API_KEY
    if options.api_key_file is not None:
        source = f"--api_key_file={options.api_key_file}"
        try:
            key = Path(options.api_key_file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"{source}: cannot be read as text ({error})") from error
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InputError(
            f"{source}: the key has characters that a header cannot hold; expected printable ASCII"
        )
    if key is not None and len(key) < _MIN_KEY:
        raise InputError(
            f"{source}: the key has {len(key)} characters; expected {_MIN_KEY} or more"
        )
    if key is None and any(
        not _is_loopback(name.strip("[]")) for name in options.allowed_hosts or ()
    ):
        raise InputError(
            "--allowed_hosts: other computers reach the service by these names, so an API key is "
            f"required; set --api_key_file or the environment variable {API_KEY}"
        )
    if key is None and not _is_loopback(options.host):
        raise InputError(
            f"--host={options.host}: other computers may reach it, so an API key is required; set "
            f"--api_key_file or the environment variable {API_KEY}"
        )
    return key


def _allowed_hosts(options: ServiceOptions) -> frozenset[str] | None:
    if options.allowed_hosts:
        return frozenset(name.lower().strip("[]") for name in options.allowed_hosts)
    return frozenset({*_LOOPBACK_NAMES, options.host}) if _is_loopback(options.host) else None


def _bound_socket(options: ServiceOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listening = socket.create_server((options.host, options.port), family=family, backlog=2048)
        # Otherwise the second packet of an answer waits 40 ms for the receipt of the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise InputError(
            f"--host={options.host} --port={options.port}: cannot listen there "
            f"({error.strerror or error}); name another port"
        ) from error
