// The files of a bundle, and how large they may be.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace edge {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kDigestName = "manifest.sha256";
inline constexpr std::string_view kEmbedName = "embed.onnx";

/// Listed in every manifest; `kEmbedName` is listed where something is frozen.
inline constexpr std::array<std::string_view, 4> kRequiredNames = {"init.onnx", "adapt.onnx",
                                                                   "predict.onnx", "MODEL_CARD.md"};

inline constexpr std::int64_t kMaxManifestBytes = std::int64_t{1} << 20U;
inline constexpr std::int64_t kMaxFileBytes = std::int64_t{64} << 20U;

}  // namespace edge
