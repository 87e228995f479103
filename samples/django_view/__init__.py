"""A Django project of one view and one handler, whose threads share one connection per process.

OWLSOCKET_URL=wss://api.example.com/ws DJANGO_SETTINGS_MODULE=samples.django_view.settings django-admin runserver
"""
