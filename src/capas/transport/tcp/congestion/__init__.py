# SPDX-License-Identifier: Apache-2.0
"""Congestion control algorithms, each registered under its name by being imported here."""

from capas.transport.tcp.congestion import bbr, cubic, reno

__all__ = ["bbr", "cubic", "reno"]
