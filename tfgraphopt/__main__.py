"""``python -m tfgraphopt``."""

import sys

from tfgraphopt.cli import main

sys.exit(main())
