"""A Django project with one view and one handler; all threads of a process share one connection.

OWLSOCKET_URL=wss://api.example.com/ws DJANGO_SETTINGS_MODULE=samples.django_view.settings django-admin runserver
"""
