# SPDX-License-Identifier: Apache-2.0
"""Measurements of ``capas bench``, each beside what one would use instead, in the same run."""
