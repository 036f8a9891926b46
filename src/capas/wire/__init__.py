# SPDX-License-Identifier: Apache-2.0
"""Bytes to fields and back; no policy, no state."""
