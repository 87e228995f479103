"""Checks of Ed25519 public keys that signature libraries leave to their callers (RFC 8032, section 5.1)."""

from __future__ import annotations

from ..errors import AuthMalformed

PRIME = 2**255 - 19
D = -121665 * pow(121666, -1, PRIME) % PRIME
COFACTOR_DOUBLINGS = 3


def check_public_point(data: bytes) -> None:
    """Check the 32 bytes of a public key.

    Raises:
        AuthMalformed: they are not the canonical encoding of a point, or the point has a small order.
    """
    y = int.from_bytes(data, "little") & (2**255 - 1)
    # Section 5.1.3: one point has one encoding, or one key could be known under two addresses.
    if y >= PRIME:
        raise AuthMalformed("the public key is not in its canonical form")
    x_squared = _x_squared(y)
    # Euler's criterion: x exists only if its square is one.
    if pow(x_squared, (PRIME - 1) // 2, PRIME) == PRIME - 1:
        raise AuthMalformed("the public key is not a point of the curve")
    # Eight times a point of small order is the neutral element, the only point with y = 1. For such a key there are
    # signatures that hold for every message.
    for _ in range(COFACTOR_DOUBLINGS):
        x_squared = _x_squared(y)
        y = (y * y + x_squared) * pow(1 - D * x_squared * y * y, -1, PRIME) % PRIME
    if y == 1:
        raise AuthMalformed("the public key has a small order: every client could sign for it")


def _x_squared(y: int) -> int:
    """Return the square of x, from the equation of the curve: -x² + y² = 1 + d·x²·y²."""
    return (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
