# SPDX-License-Identifier: Apache-2.0
"""capas: the TCP/IP protocol suite in Python."""

__version__ = "0.1.0"
