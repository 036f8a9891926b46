# SPDX-License-Identifier: Apache-2.0
"""A retrying HTTP client must not post twice, whatever the network does."""

from hypothesis import given, settings
from shop import Shop, order, order_hastily

from capas.testing.strategies import network_faults


@settings(max_examples=200, database=None, derandomize=True)
@given(faults=network_faults("client", "shop", kinds=("lose", "duplicate", "hold")))
def test_an_order_is_booked_once(internet, buggy, faults):
    client, server = internet.hosts("client", "shop")
    internet.link(client, server, rate="10Mbit", delay="20ms")
    shop = Shop()
    server.serve(shop.handle, port=80)
    faults.apply(internet)
    client.thread(order_hastily if buggy else order, "a book").result()
    internet.quiet(idle="5s")
    assert shop.booked == ["a book"]
