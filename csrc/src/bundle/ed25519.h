// Verification of Ed25519 signatures (RFC 8032). Everything here is public: nothing is done in
// constant time, and there is no signing.
#pragma once

#include <string_view>

#include "edge/bundle.h"

namespace edge {

/// Whether these bytes can be trusted as a key: a point of the curve in its one encoding, and not
/// of the few of small order, under which anyone can sign.
bool is_public_key(const PublicKey& key);

/// Whether `signature`, 64 bytes, is that of `message` by `key`: [S]B = R + [k]A, without the
/// cofactor, S below the group's order and R in its one encoding (section 5.1.7).
bool verify_ed25519(const PublicKey& key, std::string_view signature, std::string_view message);

}  // namespace edge
