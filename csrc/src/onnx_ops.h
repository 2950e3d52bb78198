// The operators that a bundle's graphs may use.
#pragma once

#include <string_view>

namespace edge {

/// Whether a node of this domain and type may stand in a bundle: the standard operators on dense
/// tensors whose result depends on their inputs alone. Left out are those that draw random numbers,
/// work on strings, sequences, optionals or images, and all operators of other domains.
bool is_allowed_op(std::string_view domain, std::string_view op) noexcept;

}  // namespace edge
