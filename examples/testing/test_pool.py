# SPDX-License-Identifier: Apache-2.0
"""A pool must not hand out connections to a server that has forgotten them."""

import asyncio
import random

import pytest
from pool import Pool, Store, TrustingPool


@pytest.mark.internet(runs=10)
async def test_requests_succeed_while_the_server_is_up(internet, buggy):
    client, server = internet.hosts("client", "store")
    internet.link(client, server, rate="10Mbit", delay="10ms", jitter="5ms")
    store = Store()
    await server.serve(store.handle, port=7000)
    pool = (TrustingPool if buggy else Pool)("store", 7000)

    async def use():
        for number in range(20):
            assert await pool.ask(f"SET key {number}") == "OK"
            await asyncio.sleep(random.uniform(0, 10))
            assert await pool.ask("PING") == "PONG"

    user = client.run(use())
    if random.random() < 0.3:  # now and then somebody trips over the cable of the server
        await asyncio.sleep(random.uniform(0, 60))
        if not user.done() and pool.idle:
            server.restart()
    await user
