# SPDX-License-Identifier: Apache-2.0
"""The composition root: one host and its four layers."""
