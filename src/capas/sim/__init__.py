# SPDX-License-Identifier: Apache-2.0
"""Virtual time: worlds of hosts, switches, routers and links in one process."""
