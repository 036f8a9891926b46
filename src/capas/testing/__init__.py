# SPDX-License-Identifier: Apache-2.0
"""Helpers for tests of programs and protocols, shipped with the package."""
