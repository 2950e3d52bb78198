// The files of a bundle, and how large they may be.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace edge {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kDigestName = "manifest.sha256";
inline constexpr std::string_view kSignatureName = "manifest.sig";
inline constexpr std::string_view kEmbedName = "embed.onnx";
inline constexpr std::string_view kProbeName = "probe.bin";  // optional

/// Listed in every manifest; `kEmbedName` is listed where something is frozen.
inline constexpr std::array<std::string_view, 4> kRequiredNames = {"init.onnx", "adapt.onnx",
                                                                   "predict.onnx", "MODEL_CARD.md"};

/// Whether a file of this name holds `embed.onnx` compiled for a system on chip.
inline bool is_compiled_embed(std::string_view name) noexcept {
  constexpr std::string_view kPrefix = "embed.";
  constexpr std::string_view kSuffix = ".onnx";
  constexpr std::string_view kCapitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  if (name.size() < kPrefix.size() + 2 + kSuffix.size()) return false;
  if (name.substr(0, kPrefix.size()) != kPrefix) return false;
  if (name.substr(name.size() - kSuffix.size()) != kSuffix) return false;
  const std::string_view soc =
      name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  return soc.size() <= 16 && kCapitals.find(soc[0]) != std::string_view::npos &&
         soc.find_first_not_of(kAllowed) == std::string_view::npos;
}

inline constexpr std::int64_t kMaxManifestBytes = std::int64_t{1} << 20U;
inline constexpr std::int64_t kSignatureBytes = 64;
inline constexpr std::int64_t kMaxFileBytes = std::int64_t{64} << 20U;

}  // namespace edge
