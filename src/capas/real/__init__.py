# SPDX-License-Identifier: Apache-2.0
"""Real time: hosts on TAP, TUN and pipes, beside the kernel."""
