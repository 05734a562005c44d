"""The program: the installed command `stowage` and `python -m stowage`.

Only what runs the program imports this module. Signals are handled before anything else is imported: an import that they interrupt would
end with a traceback.
"""

import sys

from stowage.app import stopping

stopping.end_at_once(service=sys.argv[1:2] == ["serve"])

from stowage.app.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
