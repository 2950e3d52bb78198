"""What can go wrong in a secure aggregation; after any of these, state is as it was before."""

from __future__ import annotations

from edge_sdk.errors import EdgeError


class SecureAggregationError(EdgeError, RuntimeError):
    """Base of the errors of secure aggregation."""

    code = "secure_aggregation"


class MalformedMessageError(SecureAggregationError):
    """Bytes are not a message of this protocol, or not of this group."""

    code = "malformed_message"


class WrongSessionError(SecureAggregationError):
    """A message belongs to another session: it was replayed, or sent to the wrong group."""

    code = "wrong_session"


class OutOfOrderError(SecureAggregationError):
    """A message does not belong to the stage that is open: it is late, early or sent again."""

    code = "out_of_order"


class DuplicateMessageError(SecureAggregationError):
    """A member answered this stage already; the first answer counts."""

    code = "duplicate_message"


class NotAMemberError(SecureAggregationError):
    """A client is not in the group, has left it, or speaks for another."""

    code = "not_a_member"


class ForgedKeyError(SecureAggregationError):
    """A key is not signed by the member that it is said to be of: someone swapped it."""

    code = "forged_key"


class BadShareError(SecureAggregationError):
    """A share does not open, or shares do not make the secret that was promised."""

    code = "bad_share"


class TooFewMembersError(SecureAggregationError):
    """Fewer members than the threshold are left; the group's sum is given up."""

    code = "too_few_members"


class InconsistentSurvivorsError(SecureAggregationError):
    """Members were told different things about who is left; nothing is revealed."""

    code = "inconsistent_survivors"


class ModulusTooSmallError(SecureAggregationError, OverflowError):
    """The sum of the group could overflow: take fewer members, smaller values or more bits."""

    code = "modulus_too_small"


class ImplausibleSumError(SecureAggregationError):
    """The unmasked sum is outside what the members could send: some masks did not cancel."""

    code = "implausible_sum"
