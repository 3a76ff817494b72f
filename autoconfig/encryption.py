"""AES-256-GCM with a key that is derived from a secret; needs the package ``cryptography``."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
_TAG_BYTES = 16


class Cipher:
    """
    Encrypts and authenticates data. The result is a random nonce, the ciphertext, and its tag.

    Args:
        secret: HKDF-SHA256 derives the key from it, without a salt. White space around the secret is ignored.
        purpose: One secret gives a different key for each purpose.

    Raises:
        TypeError: The secret is not a string.
        ValueError: It is empty.
    """

    def __init__(self, secret: str, purpose: bytes) -> None:
        if not isinstance(secret, str):
            raise TypeError(f"the secret must be a string, not {type(secret).__name__}")
        if not secret.strip():
            raise ValueError("the secret must not be empty")
        derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose)
        self._aes = AESGCM(derivation.derive(secret.strip().encode()))

    def encrypt(self, data: bytes, bound: bytes | None = None) -> bytes:
        """Return the data encrypted. ``bound`` is authenticated with it, and not part of the result."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aes.encrypt(nonce, data, bound)

    def decrypt(self, data: bytes, bound: bytes | None = None) -> bytes:
        """
        Return the decrypted data.

        Raises:
            ValueError: It was changed, truncated, or encrypted with another key or another ``bound``.
        """
        if len(data) >= _NONCE_BYTES + _TAG_BYTES:
            try:
                return self._aes.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound)
            except InvalidTag:
                pass
        raise ValueError("it is damaged, or was encrypted with another key")
