"""A Django project of a shop that connects to a server; tests run it in this process and in others."""
