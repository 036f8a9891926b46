# SPDX-License-Identifier: Apache-2.0
"""Scripts of other stacks' test suites as a front end, run in virtual time."""
