# SPDX-License-Identifier: Apache-2.0
"""``python -m capas``."""

from capas.cli.main import main

raise SystemExit(main())
