// Bundle: a verified bundle folder, whole in memory (docs/BUNDLE_FORMAT.md, format 1).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "edge/engine.h"

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

/// Reads and verifies a folder: the names in it, `manifest.json` against `manifest.sha256`, then
/// the size and SHA-256 of each listed file. Sizes are capped before anything is read, no link
/// inside the folder is followed, nothing is waited for.
/// @throws Error  kBadBundle, naming the file that is wrong
Bundle open_bundle(const std::string& path);

}  // namespace edge
