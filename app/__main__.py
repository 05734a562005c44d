"""`python -m stowage`: the command line."""

import sys

from stowage.cli import main

sys.exit(main())
