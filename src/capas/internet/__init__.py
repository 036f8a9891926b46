# SPDX-License-Identifier: Apache-2.0
"""The internet layer: IPv4 and IPv6 side by side, ICMP, routes, neighbour discovery."""
