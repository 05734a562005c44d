"""The WSGI application, for any server that loads a module: `stowage.wsgi:app` or `stowage.wsgi:application`."""

from stowage.app.application import create_app
from stowage.app.settings import ConfigError
from stowage.app.terminal import complain
from stowage.services.errors import EngineError

try:
    app = application = create_app()
except (ConfigError, EngineError) as exc:
    complain(exc)
    raise SystemExit(4) from None  # gunicorn's APP_LOAD_ERROR: after any other status it would restart the worker
