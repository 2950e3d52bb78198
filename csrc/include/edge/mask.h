// Masks of secure aggregation: key streams, added to and taken from vectors modulo 2^16, 2^32,
// 2^64.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace edge {

/// A 256-bit secret that is used for one mask only.
using MaskSeed = std::array<std::uint8_t, 32>;

/// Adds the masks of some seeds to a vector and subtracts those of others, in place. A mask is the
/// ChaCha20 key stream (RFC 8439) of its seed from block 0 on, with a zero nonce, read as
/// little-endian words; Word is std::uint16_t, std::uint32_t or std::uint64_t.
/// @param values  `[count]`
/// @throws Error  kInvalidOption if one stream does not reach over the vector (256 GiB)
template <typename Word>
void apply_masks(Word* values, std::size_t count, const std::vector<MaskSeed>& add,
                 const std::vector<MaskSeed>& subtract);

}  // namespace edge
