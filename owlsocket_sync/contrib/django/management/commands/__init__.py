"""``python manage.py owlsocket``."""
