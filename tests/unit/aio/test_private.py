# SPDX-License-Identifier: Apache-2.0
"""What is used of private parts of Python's own modules: each a test, for each Python supported."""

import asyncio
import inspect
import selectors
import socket
import ssl
import sys
from asyncio import base_events, constants, selector_events, transports

import pytest


@pytest.mark.parametrize("name", ["_connect_sock", "create_server", "create_datagram_endpoint"])
def test_functions_that_make_sockets_name_the_module(name: str) -> None:
    function = getattr(base_events.BaseEventLoop, name)
    assert inspect.iscoroutinefunction(function)
    assert "socket" in function.__code__.co_names
    assert function.__closure__ is None


@pytest.mark.parametrize("name", ["_add_reader", "_add_writer", "_write_to_self"])
def test_methods_that_are_extended(name: str) -> None:
    assert callable(getattr(selector_events.BaseSelectorEventLoop, name))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("_make_socket_transport", ["self", "sock", "protocol", "waiter", "extra", "server"]),
        ("_start_serving", ["self", "protocol_factory", "sock", "sslcontext", "server", "backlog"]),
        ("_ensure_fd_no_transport", ["self", "fd"]),
        ("_sendfile_native", ["self", "transp", "file", "offset", "count"]),
        ("_sendfile_fallback", ["self", "transp", "file", "offset", "count"]),
        ("_sock_sendfile_fallback", ["self", "sock", "file", "offset", "count"]),
    ],
)
def test_where_transports_and_servers_begin(name: str, arguments: list[str]) -> None:
    function = getattr(selector_events.BaseSelectorEventLoop, name)
    assert list(inspect.signature(function).parameters)[: len(arguments)] == arguments


def test_what_a_transport_takes_from_asyncio() -> None:
    for name in ("_maybe_pause_protocol", "_maybe_resume_protocol"):
        assert callable(getattr(transports._FlowControlMixin, name))  # type: ignore[attr-defined]
    assert constants._SendfileMode.TRY_NATIVE
    assert constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES
    assert callable(base_events._set_nodelay)  # type: ignore[attr-defined]
    attach = inspect.signature(base_events.Server._attach).parameters  # type: ignore[attr-defined]
    assert (len(attach) == 2) == (sys.version_info >= (3, 13))
    loop = asyncio.new_event_loop()
    try:
        done: list[int] = []
        handle = asyncio.Handle(done.append, (1,), loop)
        for _ in range(2):  # a handle may be on the queue again and again
            loop._ready.append(handle)  # type: ignore[attr-defined]
            loop.run_until_complete(asyncio.sleep(0))
        assert done == [1, 1]
        assert loop._transports == {}  # type: ignore[attr-defined]
    finally:
        loop.close()


def test_the_loop_reads_its_clock_by_these_names() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert isinstance(loop._clock_resolution, float)  # type: ignore[attr-defined]
        assert "_clock_resolution" in base_events.BaseEventLoop._run_once.__code__.co_names  # type: ignore[attr-defined]
        assert "select" in base_events.BaseEventLoop._run_once.__code__.co_names  # type: ignore[attr-defined]
    finally:
        loop.close()


def test_selectors_make_what_they_poll_with_by_these_names() -> None:
    for name in ("PollSelector", "EpollSelector"):
        selector = getattr(selectors, name, None)
        if selector is not None:
            assert callable(selector._selector_cls)
    assert callable(selectors.SelectSelector._select)  # type: ignore[attr-defined]


def test_what_is_inherited_of_the_socket_class() -> None:
    for name in ("_sendfile_use_send", "_sendfile_use_sendfile", "_real_close", "makefile"):
        assert callable(getattr(socket.socket, name))
    assert set(socket.socket.__slots__) == {"__weakref__", "_io_refs", "_closed"}
    assert issubclass(socket._GiveupOnSendfile, Exception)  # type: ignore[attr-defined]


def test_what_is_used_of_blocking_tls() -> None:
    assert "_wrap_socket" in ssl.SSLSocket._create.__code__.co_names  # type: ignore[attr-defined]
    assert "_wrap_socket" in ssl.SSLSocket._real_connect.__code__.co_names  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    end = context._wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), False, None, owner=None, session=None)  # type: ignore[attr-defined]
    for name in ("do_handshake", "read", "write", "shutdown", "context", "session"):
        assert hasattr(end, name)
