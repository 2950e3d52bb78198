// ExampleSet: adding, forgetting and the byte format.
#include "edge/example_set.h"

#include <algorithm>
#include <utility>

#include "bytes.h"
#include "checks.h"
#include "crc32.h"

namespace edge {
namespace {

constexpr std::string_view kMagic = "EDGEEXAM";
constexpr const char* kWhat = "example bytes";
constexpr std::uint32_t kFormat = 1;
constexpr std::size_t kMaxIdentity = 1024;
constexpr std::size_t kMaxRank = 8;
constexpr std::size_t kChecksum = sizeof(std::uint32_t);

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::kBadState, message); }

// Room for `count` more, growing by half so that adding one by one stays linear.
template <typename T>
void make_room(std::vector<T>& items, std::size_t count) {
  const std::size_t needed = items.size() + count;
  if (needed > items.capacity()) items.reserve(std::max(needed, items.capacity() * 3 / 2));
}

// The header after magic and format must say what this bundle says.
void check_header(ByteReader& reader, const ExampleBinding& binding) {
  const auto identity_size = reader.number<std::uint32_t>();
  if (identity_size > kMaxIdentity) refuse("example bytes hold an oversized identity");
  const bool same_backbone = reader.take(identity_size) == binding.embed_identity;
  const auto rank = reader.number<std::uint32_t>();
  if (rank > kMaxRank) refuse("example bytes hold features of too high a rank");
  Shape shape;
  for (std::uint32_t axis = 0; axis < rank; ++axis) shape.push_back(reader.number<std::int64_t>());
  if (!same_backbone || shape != binding.feature_shape) {
    refuse(
        "these examples were made with another embed.onnx; use the bundle they were taught with, "
        "or teach again");
  }
}

}  // namespace

ExampleSet::ExampleSet(ExampleBinding binding)
    : binding_(std::move(binding)), feature_size_(element_count(binding_.feature_shape)) {}

void ExampleSet::add(const FloatView& features, const LabelView& slots) {
  const std::int64_t n =
      check_batch(features, binding_.feature_shape, "features", ErrorCode::kEmptySupport);
  check_labels(slots, n, binding_.ways);
  const auto rows = static_cast<std::size_t>(n);
  const std::size_t count = element_count(features.shape);
  if (rows > kMaxExamples - slots_.size() || count > kMaxFloats - features_.size()) {
    throw Error(ErrorCode::kInvalidOption, "a set holds at most " + std::to_string(kMaxExamples) +
                                               " examples and " + std::to_string(kMaxFloats) +
                                               " numbers; forget some first");
  }
  make_room(features_, count);
  make_room(slots_, rows);  // from here on nothing can fail
  features_.insert(features_.end(), features.data, features.data + count);
  slots_.insert(slots_.end(), slots.data, slots.data + rows);
}

std::size_t ExampleSet::remove_slot(std::int64_t slot) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i] == slot) continue;
    if (kept != i) {
      std::copy_n(features_.data() + (i * feature_size_), feature_size_,
                  features_.data() + (kept * feature_size_));
      slots_[kept] = slots_[i];
    }
    ++kept;
  }
  const std::size_t removed = slots_.size() - kept;
  features_.resize(kept * feature_size_);
  slots_.resize(kept);
  return removed;
}

FloatView ExampleSet::features() const {
  Shape shape = {static_cast<std::int64_t>(size())};
  shape.insert(shape.end(), binding_.feature_shape.begin(), binding_.feature_shape.end());
  return {features_.data(), std::move(shape)};
}

LabelView ExampleSet::slots() const { return {slots_.data(), {static_cast<std::int64_t>(size())}}; }

ExampleSet ExampleSet::from_bytes(std::string_view bytes, ExampleBinding binding) {
  if (bytes.size() < kMagic.size() + sizeof(std::uint32_t) + kChecksum) {
    refuse("example bytes end too early");
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksum);
  if (body.substr(0, kMagic.size()) != kMagic) refuse("these are not the bytes of examples");
  ByteReader checksum(bytes.substr(body.size()), kWhat);
  if (checksum.number<std::uint32_t>() != crc32(body)) refuse("example bytes are damaged");

  ByteReader reader(body.substr(kMagic.size()), kWhat);
  const auto format = reader.number<std::uint32_t>();
  if (format != kFormat) {
    refuse("example bytes have format " + std::to_string(format) + ", this version reads format " +
           std::to_string(kFormat));
  }
  check_header(reader, binding);
  ExampleSet set(std::move(binding));
  const auto num_examples = reader.number<std::uint64_t>();
  if (num_examples > kMaxExamples || num_examples > kMaxFloats / set.feature_size_) {
    refuse("example bytes hold too many examples");
  }
  const auto rows = static_cast<std::size_t>(num_examples);
  const std::size_t count = rows * set.feature_size_;
  if (reader.left() != rows * sizeof(std::int64_t) + count * sizeof(float)) {
    refuse("example bytes hold another number of values than they announce");
  }
  set.slots_.resize(rows);
  const std::string_view slots = reader.take(rows * sizeof(std::int64_t));
  set.features_.resize(count);
  const std::string_view features = reader.take(count * sizeof(float));
  if (rows > 0) {
    std::memcpy(set.slots_.data(), slots.data(), slots.size());
    std::memcpy(set.features_.data(), features.data(), features.size());
  }
  if (!all_finite(set.features_.data(), count)) refuse("example bytes hold NaN or infinity");
  const std::int64_t ways = set.binding_.ways;
  if (std::any_of(set.slots_.begin(), set.slots_.end(),
                  [ways](std::int64_t slot) { return slot < 0 || slot >= ways; })) {
    refuse("example bytes hold a slot outside 0.." + std::to_string(ways - 1));
  }
  return set;
}

std::string ExampleSet::to_bytes() const {
  std::string out(kMagic);
  put(out, kFormat);
  put(out, static_cast<std::uint32_t>(binding_.embed_identity.size()));
  out += binding_.embed_identity;
  put(out, static_cast<std::uint32_t>(binding_.feature_shape.size()));
  for (const std::int64_t dim : binding_.feature_shape) put(out, dim);
  put(out, static_cast<std::uint64_t>(size()));
  const std::size_t slot_bytes = slots_.size() * sizeof(std::int64_t);
  const std::size_t feature_bytes = features_.size() * sizeof(float);
  out.reserve(out.size() + slot_bytes + feature_bytes + kChecksum);
  if (size() > 0) {
    out.append(reinterpret_cast<const char*>(slots_.data()), slot_bytes);
    out.append(reinterpret_cast<const char*>(features_.data()), feature_bytes);
  }
  put(out, crc32(out));
  return out;
}

}  // namespace edge
