"""`python -m localserver` is `pmask-server`."""

from localserver.cli import main

raise SystemExit(main())
