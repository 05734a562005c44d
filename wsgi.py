"""The WSGI application, for any server that wants a module: `wsgi:application`."""

from app import create_app

application = create_app()
