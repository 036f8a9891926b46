# SPDX-License-Identifier: Apache-2.0
"""Socket semantics: what programs written for CPython's `socket` find on a host."""
