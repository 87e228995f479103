"""At home in Flask: an extension that calls, one whose handlers run in the app, and routes that accept connections.

::

    owl = OwlSocket()

    def create_app():
        app = Flask(__name__)
        app.config["OWLSOCKET_URL"] = "wss://api.example.com/ws"
        owl.init_app(app)
        return app

    @owl.observe("order.paid")
    def paid(message):
        ...  # in the context of the app
"""

from .double import Double
from .extension import OwlSocket

__all__ = ["Double", "OwlSocket"]
