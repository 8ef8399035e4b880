"""Turn what boto3 raises for KMS into this room's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from storage.errors import (
    IntegrityError,
    StorageError,
    StoreConfigError,
    StoreFullError,
    StoreUnavailableError,
)

_GONE: Final = frozenset({"NotFoundException", "KMSInvalidStateException"})
_CHANGED: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_FULL: Final = frozenset({"LimitExceededException"})
_LATER: Final = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
    }
)
_CREDENTIALS: Final = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "OptInRequired",
        "UnrecognizedClientException",
    }
)


class KmsGoneError(StorageError):
    """KMS knows no such key or alias, or the key has no material (yet, or any more). Internal to the room."""


@contextmanager
def translated() -> Iterator[None]:
    """
    Turn boto3's exceptions into this room's. They are not chained, as some quote what was sent.

    Raises:
        KmsGoneError: There is no such key or alias, or it has no material.
        IntegrityError: What was to be decrypted was sealed by another key or for another root.
        StoreConfigError: Credentials, rights, region or a key's state are wrong.
        StoreUnavailableError: KMS cannot be reached or asks to wait.
        StoreFullError: The account holds as many keys as it may.
    """
    try:
        yield
    except ClientError as error:
        raise _told(error.response.get("Error", {}).get("Code", ""), error.operation_name) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise StoreConfigError(
            "The root store kms: finds no AWS credentials; give the process a role, or set AWS_ACCESS_KEY_ID."
        ) from None
    except NoRegionError:
        raise StoreConfigError("The root store kms: knows no region; set AWS_REGION.") from None
    except (ConnectionError, HTTPClientError) as error:
        raise StoreUnavailableError(
            f"KMS cannot be reached ({type(error).__name__}); check the network, the region and the endpoint."
        ) from None
    except BotoCoreError as error:
        raise StoreConfigError(
            f"boto3 cannot call KMS ({type(error).__name__}); check the AWS settings of this process."
        ) from None


def _told(code: str, operation: str) -> StorageError:
    if code in _GONE:
        return KmsGoneError(f"KMS has no such key or alias, or no material for it ({operation}).")
    if code in _CHANGED:
        return IntegrityError("KMS does not open a sealed root: it was changed or swapped with another one.")
    if code in _FULL:
        return StoreFullError(f"KMS refuses {operation}: the account has as many keys as it may; ask AWS for more.")
    if code in _LATER:
        return StoreUnavailableError(f"KMS does not serve {operation} now ({code}); it will be tried again.")
    if code in _CREDENTIALS:
        return StoreConfigError(
            f"KMS refuses {operation} ({code}); check the credentials and the rights that docs/operations.md lists."
        )
    if code == "DisabledException":
        return StoreConfigError("The KMS key of a root is disabled: somebody stopped it; enable it again.")
    return StorageError(f"KMS answered {operation} with {code or 'an error without a code'}.")
