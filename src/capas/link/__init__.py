# SPDX-License-Identifier: Apache-2.0
"""Network access: one hop (RFC 1122 §2)."""
