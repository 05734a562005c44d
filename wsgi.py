"""The WSGI application under the name it has in this folder: `gunicorn wsgi:app`."""

from stowage.wsgi import app, application

__all__ = ["app", "application"]
