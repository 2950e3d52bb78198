"""Which settings of a run exclude each other: refused before anybody is asked for anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from federated.rounds.planning import check_noise
from federated.secure.options import check_masking

if TYPE_CHECKING:
    from federated.privacy.options import PrivacyOptions
    from federated.round_core import RoundOptions
    from federated.secure.options import MaskingOptions
    from federated.settings import ServerSettings


def check_together(
    settings: ServerSettings,
    rounds: RoundOptions,
    privacy: PrivacyOptions | None,
    masking: MaskingOptions | None,
    *,
    judged: bool,
) -> None:
    """Refuse what cannot be had together, or would break a guarantee.

    Args:
        settings: Of the server.
        rounds: The rounds.
        privacy: Their noise; None for none.
        masking: Hides single updates; None: the server sees each.
        judged: Whether devices are to judge the candidate.

    Raises:
        InvalidOptionError: The message says what to change.
        ModulusTooSmallError: The sum of a masked group could overflow.
    """
    if masking is not None:
        check_masking(masking, rounds, privacy, judged=judged)
        _check_masked_server(settings)
    if privacy is not None:
        check_noise(rounds)
        _check_private_server(settings, privacy, masked=masking is not None)


def _check_masked_server(settings: ServerSettings) -> None:
    if settings.update_bits or settings.update_keep < 1:
        msg = "masked updates are coded by value_bits of [masking]; set update_bits to 0, keep to 1"
        raise InvalidOptionError(msg)
    if settings.min_replies:
        msg = "a masked round is closed by stage_deadline_s of [masking]; set min_replies to 0"
        raise InvalidOptionError(msg)


def _check_private_server(
    settings: ServerSettings, privacy: PrivacyOptions, *, masked: bool
) -> None:
    if not settings.ledger:
        msg = "private rounds need a ledger: set it to a file that is kept as long as the users are"
        raise InvalidOptionError(msg)
    if privacy.noise == "distributed" and not masked:
        msg = (
            "distributed noise needs secure aggregation, or the server sees every noised update: "
            "set [masking], or take central noise"
        )
        raise InvalidOptionError(msg)
    if privacy.noise == "local" and settings.update_bits:
        msg = "local noise is added on its own grid; set update_bits to 0"
        raise InvalidOptionError(msg)
    if settings.min_replies:
        msg = (
            "min_replies closes a round at a number of replies, so that one user can displace "
            "another, which the noise is not scaled for; close private rounds by the deadline only"
        )
        raise InvalidOptionError(msg)
