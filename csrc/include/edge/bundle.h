// Bundle: a verified bundle folder, whole in memory (docs/BUNDLE_FORMAT.md, format 1).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "edge/engine.h"
#include "edge/error.h"

namespace edge {

/// Size and digest of one file, as the manifest gives them.
struct FileEntry {
  std::string sha256;
  std::int64_t size = 0;
};

/// What a device needs of `manifest.json`; all of it was checked.
struct Manifest {
  std::string name;
  std::string learner;
  std::int64_t version = 0;
  std::string expires;              ///< the last day it may be used, `YYYY-MM-DD`; empty: none
  std::vector<std::string> labels;  ///< UTF-8; what the first slots mean
  EngineSpec spec;
  std::map<std::string, FileEntry> files;
};

/// @throws Error  kBadBundle, "manifest.json: <place> <what is wrong>"
Manifest parse_manifest(std::string_view bytes);

/// What was verified is what is here, whatever happens to the folder later. Immutable after
/// `open_bundle`, so safe to read from any number of threads.
struct Bundle {
  Manifest manifest;
  std::string digest;                        ///< SHA-256 (hex) of manifest.json: names the bundle
  std::map<std::string, std::string> files;  ///< bytes of each listed file

  /// The graphs; they borrow from `files`.
  Graphs graphs() const;

  /// What decides whether stored features stay valid under another bundle: the digest of
  /// `embed.onnx`, or, where nothing is frozen, the learner and the input's shape.
  std::string embed_identity() const;
};

/// An Ed25519 public key (RFC 8032).
using PublicKey = std::array<std::uint8_t, 32>;

/// Which bundles are opened, besides those that are whole.
struct Trust {
  std::vector<PublicKey> keys;        ///< a signature by any of them is enough; never empty
  std::int64_t accepted_version = 0;  ///< the newest accepted before: older ones are refused
  std::string accepted_digest;        ///< of that one; empty: not compared
  std::string today;                  ///< `YYYY-MM-DD`, UTC; empty: expiry is not looked at
};

/// A bundle that may be whole, and is not to be used.
class UntrustedBundle : public Error {
 public:
  enum class Why { kSignature, kExpired, kOlder };
  UntrustedBundle(Why why, const std::string& message)
      : Error(ErrorCode::kBadBundle, message), why_(why) {}

  Why why() const noexcept { return why_; }

 private:
  Why why_;
};

/// Reads and verifies a folder: the names in it, `manifest.json` against `manifest.sha256`, then
/// the size and SHA-256 of each listed file. Sizes are capped before anything is read, no link
/// inside the folder is followed, nothing is waited for.
/// @param trust  whose signature `manifest.sig` must be, which is checked before anything is parsed
///               (null: it is not checked), and what else is refused
/// @throws UntrustedBundle; Error  kBadBundle, naming the file that is wrong; kInvalidOption for a
///         trust policy without keys, with one that is none, or with a day that is none
Bundle open_bundle(const std::string& path, const Trust* trust = nullptr);

}  // namespace edge
