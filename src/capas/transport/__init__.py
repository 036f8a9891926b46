# SPDX-License-Identifier: Apache-2.0
"""The transport layer: TCP, UDP, raw packets, ports, and what a socket waits on."""
