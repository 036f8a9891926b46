# SPDX-License-Identifier: Apache-2.0
"""Socket semantics over a host; waiting is a driver's business."""
