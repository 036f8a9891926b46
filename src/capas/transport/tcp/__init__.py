# SPDX-License-Identifier: Apache-2.0
"""TCP (RFC 9293), split by who owns which variable."""
