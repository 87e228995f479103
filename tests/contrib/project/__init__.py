"""A Django project of one shop, which talks to a server; run by tests in processes of their own, and beside them."""
