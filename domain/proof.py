"""Who listens at a port of ours: a server that knows a secret proves it, before the secret is sent to it."""

import hashlib
import hmac

PATH = "/prove/"
"""A GET of this and a nonce is answered with the proof, as text."""
NONCE_CHARACTERS_MAX = 64


def proof(secret: str, nonce: str, port: int) -> str:
    """What only a holder of the secret can say. The port is in it, so that nobody passes the question on to the real server."""
    return hmac.new(secret.encode(), f"tandem {nonce} {port}".encode(), hashlib.sha256).hexdigest()
