"""Run the command line as ``python -m geoimages``."""

import sys

from .cli import main

sys.exit(main())
