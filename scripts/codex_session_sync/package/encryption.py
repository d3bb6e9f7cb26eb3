"""Packages encrypted with age: told, opened and made; alone knows the library that does it."""

from __future__ import annotations

import base64
import binascii
import importlib
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ..errors import PackageError, UsageError
from .members import Limits, over_limit, unreadable
from .staging import staging_errors
from .streams import damaged

if TYPE_CHECKING:
    from io import BufferedIOBase

    from pyrage import _Identity, _Recipient

HEADER_BYTES = 64 << 10
"""Longest header that is read: the library takes time that grows with its square."""

IDENTITY_BYTES = 1 << 20

_VERSION = b"age-encryption.org/v1\n"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_HEADER_END = b"\n---"
_PASSPHRASE = b"\n-> scrypt "
_NO_MATCH = "No matching keys"


def is_encrypted(source: Path) -> bool:
    """Whether the file at ``source`` begins as age files do; False where it cannot be read."""
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            return False
        with source.open("rb") as stream:
            return stream.read(len(_ARMOR)).startswith((_VERSION, _ARMOR))
    except (OSError, ValueError):
        return False


def decrypt(source: Path, target: Path, identities: Sequence[Path], limits: Limits) -> None:
    """Write what the age file at ``source`` holds to ``target``, where nothing is.

    ``identities`` are files. What was written is to be used only if no error was raised.
    Raises PackageError (``package_encrypted``, ``identity_does_not_fit``, ``package_damaged``,
    ``package_unsafe``, ``package_unreadable``, ``package_not_staged``), UsageError
    (``identity_invalid``, ``encryption_unavailable``).
    """
    try:
        with source.open("rb") as stream:
            if _size(stream) > limits.total_bytes:
                raise over_limit(
                    "the package", f"is over {limits.total_bytes} bytes", "total_bytes"
                )
            _require_openable(_header(stream), identities)
            keys = read_identities(identities)
            stream.seek(0)
            with staging_errors(), target.open("xb") as plain:
                _opened(stream, plain, keys)
    except OSError as error:
        raise unreadable("the package", error) from error


def _size(stream: BinaryIO) -> int:
    """The size of an open file, which is read from its beginning next."""
    size = stream.seek(0, 2)
    stream.seek(0)
    return size


def encrypt(
    plain: BinaryIO,
    target: BinaryIO,
    recipients: Sequence[_Recipient],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write what ``plain`` holds from here on to ``target``, so that the recipients can open it.

    Raises OSError. ``progress`` is told of bytes as they are read.
    """
    library = _library()
    source, sink = _End(plain, progress), _End(target)
    try:
        library.encrypt_io(source.file(), sink.file(), recipients)
    except library.EncryptError:
        source.reraise()
        sink.reraise()
        raise
    source.reraise()
    sink.reraise()


def read_recipients(texts: Sequence[str]) -> list[_Recipient]:
    """Public keys, of age or of SSH. Raises UsageError ``recipient_invalid``."""
    library = _library()
    found: list[_Recipient] = []
    for number, text in enumerate(texts, 1):
        kind = library.ssh if text.strip().startswith("ssh-") else library.x25519
        try:
            found.append(kind.Recipient.from_str(text.strip()))
        except (library.RecipientError, ValueError, TypeError) as error:
            what = "is no public key of age or of SSH (ed25519, rsa)"
            if text.strip().upper().startswith("AGE-SECRET-KEY"):
                what = "is an identity, which is to be kept secret"
            raise UsageError(
                "recipient_invalid",
                f"recipient {number} {what}",
                hint="give the line that begins with age1 or ssh-ed25519, in quotes",
            ) from error
    return found


def read_identities(paths: Sequence[Path]) -> list[_Identity]:
    """The identities in files of age, and private keys of SSH.

    Raises UsageError ``identity_invalid``; no message tells what is in a file.
    """
    return [identity for path in paths for identity in _identities_in(path)]


def _identities_in(path: Path) -> list[_Identity]:
    library = _library()
    try:
        with path.open("rb") as stream:
            data = stream.read(IDENTITY_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _invalid(path, "cannot be read") from error
    if len(data) > IDENTITY_BYTES:
        raise _invalid(path, f"is over {IDENTITY_BYTES} bytes")
    if data.startswith((_VERSION, _ARMOR)):
        raise _invalid(path, "is protected by a passphrase, which is not supported")
    if data.lstrip().startswith(b"-----BEGIN"):
        try:
            return [library.ssh.Identity.from_buffer(data)]
        except (library.IdentityError, ValueError) as error:
            locked = "decrypted first" in str(error)
            what = "is protected by a passphrase, which is not supported" if locked else None
            raise _invalid(path, what or "holds no private key that can be used") from None
    try:
        lines = [line.strip() for line in data.decode("ascii").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        found = [library.x25519.Identity.from_str(key) for key in keys]
    except (library.IdentityError, ValueError):
        raise _invalid(path, "holds something else than identities of age") from None
    if not found:
        raise _invalid(path, "holds no identity")
    return cast("list[_Identity]", found)


def _invalid(path: Path, what: str) -> UsageError:
    return UsageError(
        "identity_invalid",
        f"the identity file {path} {what}",
        hint="give a file of age-keygen, or a private key of SSH without a passphrase: "
        "`codex-session-sync AGAIN --identity FILE`",
    )


def _header(stream: BinaryIO) -> bytes:
    """The header of an age file, up to the line that ends it. Raises PackageError."""
    head = stream.read(len(_ARMOR))
    if head == _ARMOR:
        lines = stream.read(2 * HEADER_BYTES).splitlines()
        text = b"".join(line.strip() for line in lines if not line.startswith(b"-"))
        try:
            head = base64.b64decode(text[: len(text) // 4 * 4], validate=True)[:HEADER_BYTES]
        except binascii.Error as error:
            raise damaged("its armor is not what it should be") from error
    else:
        head += stream.read(HEADER_BYTES)
    found, end, _ = head.partition(_HEADER_END)
    if not end or not found.startswith(_VERSION):
        raise damaged("the header of its encryption is cut off, too long, or no header")
    return found + b"\n"


def _require_openable(header: bytes, identities: Sequence[Path]) -> None:
    if _PASSPHRASE in header:
        raise PackageError(
            "package_encrypted",
            "the package is encrypted with a passphrase, which is not supported",
            hint="open it with the age tool, or have it packed for your public key: "
            "`codex-session-sync pack -o FILE --recipient KEY`",
        )
    if not identities:
        raise PackageError(
            "package_encrypted",
            "the package is encrypted",
            hint="give the file of your private key: `codex-session-sync AGAIN --identity FILE`",
        )


def _opened(stream: BinaryIO, plain: BinaryIO, keys: Sequence[_Identity]) -> None:
    library = _library()
    source, sink = _End(stream), _End(plain)
    try:
        library.decrypt_io(source.file(), sink.file(), keys)
    except (library.DecryptError, OSError) as error:
        sink.reraise()
        if isinstance(source.error, OSError):
            raise unreadable("the package", source.error) from source.error
        source.reraise()
        if _NO_MATCH in str(error):
            raise PackageError(
                "identity_does_not_fit",
                "none of the identities opens the package",
                hint="give the one whose public key it was encrypted to, "
                "`codex-session-sync AGAIN --identity FILE`; if that is it, the package is damaged",
            ) from error
        raise damaged("what it is encrypted as was cut off or changed") from error
    source.reraise()
    sink.reraise()


@dataclass(slots=True)
class _End:
    """A file that the library reads or writes, which keeps what befell it there."""

    stream: BinaryIO
    progress: Callable[[int], None] | None = None
    error: BaseException | None = None

    def file(self) -> BufferedIOBase:
        """Itself, as the library wants it."""
        return cast("BufferedIOBase", self)

    def read(self, size: int = -1, /) -> bytes:
        """Read as the stream does."""
        try:
            data = self.stream.read(size)
            if self.progress:
                self.progress(len(data))
        except BaseException as error:
            self.error = error
            raise
        return data

    def write(self, data: bytes, /) -> int:
        """Write as the stream does."""
        try:
            return self.stream.write(data)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Flush as the stream does."""
        try:
            self.stream.flush()
        except BaseException as error:
            self.error = error
            raise

    def reraise(self) -> None:
        """Raise what befell it, if something did."""
        if self.error is not None:
            raise self.error


def _library() -> Any:
    """The library. Raises UsageError ``encryption_unavailable``."""
    try:
        return importlib.import_module("pyrage")
    except ImportError as error:
        raise UsageError(
            "encryption_unavailable",
            "the library that encrypts is not installed, or not for this machine",
            hint="install pyrage, or use the age tool before reading and after packing",
        ) from error
