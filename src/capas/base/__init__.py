# SPDX-License-Identifier: Apache-2.0
"""What every layer stands on: time, randomness, frames, checksums; knows no protocol."""
