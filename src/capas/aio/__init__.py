# SPDX-License-Identifier: Apache-2.0
"""An asyncio event loop whose sockets are those of a host."""
