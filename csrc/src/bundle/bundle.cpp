// Reads a bundle folder: the same checks as edge_sdk/bundle.py, on POSIX calls.
#include "edge/bundle.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <system_error>

#include "bundle/ed25519.h"
#include "bundle/names.h"
#include "bundle/sha256.h"
#include "bundle/utf8.h"
#include "edge/error.h"
#include "edge/state.h"

namespace edge {
namespace {

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kBadBundle, message);
}

// strerror shares a buffer between threads; this does not.
std::string reason(int error) { return std::generic_category().message(error); }

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor(Descriptor&&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const noexcept { return fd_; }
  /// Gives up the descriptor without closing it.
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { closedir(directory); }
};

int open_retrying(int folder, const char* name, int flags) {
  int fd = -1;
  do {
    fd = openat(folder, name, flags | O_RDONLY | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

bool is_known(std::string_view name) {
  return name == kManifestName || name == kDigestName || name == kSignatureName ||
         name == kEmbedName || name == kProbeName || is_compiled_embed(name) ||
         std::find(kRequiredNames.begin(), kRequiredNames.end(), name) != kRequiredNames.end();
}

// The names in the folder: only those that a bundle can have, and all that it must have.
std::set<std::string, std::less<>> read_names(int folder) {
  Descriptor again(open_retrying(folder, ".", O_DIRECTORY));  // fdopendir takes over what it gets
  const std::unique_ptr<DIR, CloseDirectory> directory(again.get() < 0 ? nullptr
                                                                       : fdopendir(again.get()));
  if (directory == nullptr) refuse("the bundle's folder cannot be read: " + reason(errno));
  again.release();
  std::set<std::string, std::less<>> found;
  for (;;) {
    errno = 0;
    const dirent* const entry = readdir(directory.get());  // NOLINT(concurrency-mt-unsafe)
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (!is_known(name)) refuse(to_ascii(name) + " does not belong into a bundle");
    found.emplace(name);
  }
  if (errno != 0) refuse("the bundle's folder cannot be read: " + reason(errno));
  const auto require = [&](std::string_view name) {
    if (found.find(name) == found.end()) refuse(std::string(name) + " is missing from the bundle");
  };
  require(kManifestName);
  require(kDigestName);
  for (const std::string_view name : kRequiredNames) require(name);
  return found;
}

// Bytes of one regular file of at most `largest` bytes; never follows a link, never waits.
std::string read_file(int folder, std::string_view file, std::int64_t largest) {
  const std::string name(file);
  const auto refuse_unreadable = [&] { refuse(name + " cannot be read: " + reason(errno)); };
  const Descriptor fd(open_retrying(folder, name.c_str(), O_NOFOLLOW | O_NONBLOCK));
  struct stat status{};
  if (fd.get() < 0 || fstat(fd.get(), &status) != 0) refuse_unreadable();
  if (!S_ISREG(status.st_mode)) refuse(name + " is not a regular file");
  if (status.st_size > largest) {
    refuse(name + " has " + std::to_string(status.st_size) + " bytes, at most " +
           std::to_string(largest) + " are allowed");
  }
  // One byte more than there should be, so that growth is seen.
  std::string data(static_cast<std::size_t>(status.st_size) + 1, '\0');
  std::size_t filled = 0;
  while (filled < data.size()) {
    const ssize_t count = read(fd.get(), data.data() + filled, data.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse_unreadable();
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  if (filled == data.size()) refuse(name + " grew while it was read");
  data.resize(filled);
  return data;
}

std::string check_manifest_digest(int folder, const std::string& raw_manifest) {
  constexpr std::int64_t kLine = 65;
  const std::string line = read_file(folder, kDigestName, kLine);
  const bool is_digest_line = line.size() == kLine && line.back() == '\n' &&
                              line.find_first_not_of("0123456789abcdef") == line.size() - 1;
  if (!is_digest_line) {
    refuse("manifest.sha256 must hold 64 lower-case hex digits and a newline");
  }
  std::string digest = sha256_hex(raw_manifest);
  if (line != digest + "\n") {
    refuse("manifest.json does not match its SHA-256 in manifest.sha256");
  }
  return digest;
}

std::string read_signature(int folder) {
  std::string signature = read_file(folder, kSignatureName, kSignatureBytes);
  if (signature.size() != static_cast<std::size_t>(kSignatureBytes)) {
    refuse("manifest.sig has " + std::to_string(signature.size()) + " bytes, a signature has 64");
  }
  return signature;
}

bool is_day(const std::string& text) {
  if (text.size() != 10) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_dash = i == 4 || i == 7;
    if (is_dash ? text[i] != '-' : (text[i] < '0' || text[i] > '9')) return false;
  }
  return true;
}

void check_trust(const Trust& trust) {
  const auto refuse_option = [](const std::string& message) {
    throw Error(ErrorCode::kInvalidOption, message);
  };
  if (trust.keys.empty()) refuse_option("a trust policy needs at least one public key");
  for (std::size_t i = 0; i < trust.keys.size(); ++i) {
    if (!is_public_key(trust.keys[i])) {
      refuse_option("trusted key " + std::to_string(i) + " is no Ed25519 public key");
    }
  }
  if (!trust.today.empty() && !is_day(trust.today)) refuse_option("today must be YYYY-MM-DD");
}

void check_signer(const Trust& trust, std::string_view raw_manifest,
                  const std::optional<std::string>& signature) {
  using Why = UntrustedBundle::Why;
  if (!signature) {
    throw UntrustedBundle(Why::kSignature,
                          "manifest.sig is missing: only a signed bundle is opened here");
  }
  for (const PublicKey& key : trust.keys) {
    if (verify_ed25519(key, *signature, raw_manifest)) return;
  }
  throw UntrustedBundle(Why::kSignature,
                        "manifest.sig is not a signature of manifest.json by a trusted key");
}

void check_age(const Trust& trust, const Manifest& manifest, const std::string& digest) {
  using Why = UntrustedBundle::Why;
  if (!trust.today.empty() && !manifest.expires.empty() && trust.today > manifest.expires) {
    throw UntrustedBundle(Why::kExpired, "manifest.json: the bundle expired after " +
                                             manifest.expires + "; fetch a newer one");
  }
  const std::string version = std::to_string(manifest.version);
  if (manifest.version < trust.accepted_version) {
    throw UntrustedBundle(Why::kOlder, "manifest.json: has version " + version +
                                           ", a newer one was accepted before; fetch that one");
  }
  if (manifest.version == trust.accepted_version && !trust.accepted_digest.empty() &&
      digest != trust.accepted_digest) {
    throw UntrustedBundle(Why::kOlder, "manifest.json: another bundle of version " + version +
                                           " was accepted before; a changed one needs a higher");
  }
}

std::string read_listed(int folder, const std::string& name, const FileEntry& entry) {
  std::string data = read_file(folder, name, kMaxFileBytes);
  if (static_cast<std::int64_t>(data.size()) != entry.size) {
    refuse(name + " has " + std::to_string(data.size()) + " bytes, manifest.json says " +
           std::to_string(entry.size));
  }
  if (sha256_hex(data) != entry.sha256) {
    refuse(name + " does not match its SHA-256 in manifest.json");
  }
  return data;
}

// Examples of the base task, in the bytes of a state: the same checks as edge_sdk/probe_file.py.
void check_probe(const std::string& data, const Manifest& manifest) {
  constexpr std::int64_t kMaxExamples = 4096;
  const auto refuse_probe = [](const std::string& what) { refuse("probe.bin: " + what); };
  StatePtr state;
  try {
    state = State::from_bytes(data);
  } catch (const Error& error) {
    refuse_probe(error.what());
  }
  if (state->size() != 2 || state->spec(0).name != "features" || state->spec(1).name != "slots") {
    refuse_probe("must hold the tensors features and slots, in this order");
  }
  const Shape& slots = state->spec(1).shape;
  const std::int64_t num = slots.size() == 1 ? slots[0] : 0;
  Shape wanted = manifest.spec.feature_shape;
  wanted.insert(wanted.begin(), num);
  if (num < 1 || num > kMaxExamples || state->spec(0).shape != wanted) {
    refuse_probe("must hold 1 to 4096 examples, with the manifest's features each");
  }
  if (state->non_finite()) refuse_probe("holds NaN or infinity");
  const auto named = static_cast<float>(manifest.labels.size());
  const float* const values = state->data(1);
  const auto is_slot = [named](float slot) {
    return slot >= 0 && slot < named && slot == std::floor(slot);
  };
  if (!std::all_of(values, values + num, is_slot)) {
    refuse_probe("slots must be those of the labels that the manifest names");
  }
}

}  // namespace

Graphs Bundle::graphs() const {
  Graphs graphs;
  graphs.init = files.at("init.onnx");
  const auto embed = files.find(std::string(kEmbedName));
  if (embed != files.end()) graphs.embed = embed->second;
  graphs.adapt = files.at("adapt.onnx");
  graphs.predict = files.at("predict.onnx");
  return graphs;
}

std::string Bundle::embed_identity() const {
  const auto entry = manifest.files.find(std::string(kEmbedName));
  if (entry != manifest.files.end()) return "sha256:" + entry->second.sha256;
  return "input:" + manifest.learner + ":" + to_text(manifest.spec.input_shape);
}

Bundle open_bundle(const std::string& path, const Trust* trust) {
  if (trust != nullptr) check_trust(*trust);
  const Descriptor folder(open_retrying(AT_FDCWD, path.c_str(), O_DIRECTORY));
  if (folder.get() < 0) {
    refuse("a bundle is a folder; this one cannot be opened: " + reason(errno));
  }
  const auto found = read_names(folder.get());
  const std::string raw_manifest = read_file(folder.get(), kManifestName, kMaxManifestBytes);
  std::optional<std::string> signature;
  if (found.find(kSignatureName) != found.end()) signature = read_signature(folder.get());
  if (trust != nullptr) check_signer(*trust, raw_manifest, signature);
  Bundle bundle;
  bundle.digest = check_manifest_digest(folder.get(), raw_manifest);
  bundle.manifest = parse_manifest(raw_manifest);
  if (trust != nullptr) check_age(*trust, bundle.manifest, bundle.digest);
  for (const std::string& name : found) {
    if (name == kManifestName || name == kDigestName || name == kSignatureName) continue;
    if (bundle.manifest.files.count(name) == 0) {
      refuse(name + " is in the bundle, but manifest.json does not list it");
    }
  }
  for (const auto& [name, entry] : bundle.manifest.files) {
    if (found.find(name) == found.end()) refuse(name + " is missing from the bundle");
  }
  for (const auto& [name, entry] : bundle.manifest.files) {
    bundle.files.emplace(name, read_listed(folder.get(), name, entry));
  }
  const auto probe = bundle.files.find(std::string(kProbeName));
  if (probe != bundle.files.end()) check_probe(probe->second, bundle.manifest);
  return bundle;
}

}  // namespace edge
