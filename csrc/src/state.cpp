// State: layout, comparison and the byte format.
#include "edge/state.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "bytes.h"
#include "crc32.h"
#include "edge/error.h"

namespace edge {
namespace {

constexpr std::string_view kMagic = "EDGESTAT";
constexpr const char* kWhat = "state bytes";
constexpr std::uint32_t kFormat = 1;
constexpr std::size_t kAlignedFloats = kAlignment / sizeof(float);

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::kBadState, message); }

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= StateLayout::kMaxNameLength &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
}

TensorSpec read_spec(ByteReader& reader) {
  const auto name_length = reader.number<std::uint32_t>();
  if (name_length > StateLayout::kMaxNameLength) refuse("state bytes hold an oversized name");
  TensorSpec spec;
  spec.name = std::string(reader.take(name_length));
  const auto rank = reader.number<std::uint32_t>();
  if (rank > StateLayout::kMaxRank) refuse("state bytes hold a tensor of too high a rank");
  for (std::uint32_t axis = 0; axis < rank; ++axis) {
    spec.shape.push_back(reader.number<std::int64_t>());
  }
  return spec;
}

std::size_t value_bytes(const StateLayout& layout) {
  std::size_t total = 0;  // cannot overflow: StateLayout caps the elements
  for (std::size_t i = 0; i < layout.size(); ++i) total += layout.count(i) * sizeof(float);
  return total;
}

}  // namespace

StateLayout::StateLayout(std::vector<TensorSpec> specs) : specs_(std::move(specs)) {
  if (specs_.empty() || specs_.size() > kMaxTensors) {
    refuse("a state has 1 to " + std::to_string(kMaxTensors) + " tensors, got " +
           std::to_string(specs_.size()));
  }
  std::unordered_set<std::string_view> seen;
  for (const TensorSpec& spec : specs_) {
    if (!is_plain_name(spec.name)) {
      refuse("a state tensor's name must be 1 to " + std::to_string(kMaxNameLength) +
             " printable ASCII characters without spaces");
    }
    if (!seen.insert(spec.name).second) refuse("state tensor " + spec.name + " appears twice");
    if (spec.shape.size() > kMaxRank) {
      refuse("state tensor " + spec.name + " has more than " + std::to_string(kMaxRank) + " axes");
    }
    std::size_t count = 1;
    for (const std::int64_t dim : spec.shape) {
      if (dim < 1) {
        refuse("state tensor " + spec.name + " has shape " + to_text(spec.shape) +
               "; every axis must be >= 1");
      }
      if (static_cast<std::uint64_t>(dim) > kMaxElements / count) {
        refuse("state tensor " + spec.name + " of shape " + to_text(spec.shape) + " is too large");
      }
      count *= static_cast<std::size_t>(dim);
    }
    counts_.push_back(count);
    offsets_.push_back(buffer_size_);
    buffer_size_ += (count + kAlignedFloats - 1) / kAlignedFloats * kAlignedFloats;
    if (buffer_size_ > kMaxElements) {
      refuse("the state has more than " + std::to_string(kMaxElements) + " values");
    }
  }
}

std::optional<std::size_t> StateLayout::find(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].name == name) return i;
  }
  return std::nullopt;
}

State::State(LayoutPtr layout, FloatBuffer buffer)
    : layout_(std::move(layout)), buffer_(std::move(buffer)) {
  for (std::size_t i = 0; i < size(); ++i) {
    if (!all_finite(data(i), layout_->count(i))) {
      non_finite_ = i;
      break;
    }
  }
}

StatePtr State::from_tensors(std::vector<TensorSpec> specs, const std::vector<const float*>& data) {
  auto layout = std::make_shared<const StateLayout>(std::move(specs));
  if (data.size() != layout->size()) refuse("a state needs one array for each name");
  FloatBuffer buffer = make_buffer(layout->buffer_size());
  for (std::size_t i = 0; i < data.size(); ++i) {
    std::memcpy(buffer.get() + layout->offset(i), data[i], layout->count(i) * sizeof(float));
  }
  return std::make_shared<const State>(std::move(layout), std::move(buffer));
}

StatePtr State::from_bytes(std::string_view bytes) {
  constexpr std::size_t kChecksum = sizeof(std::uint32_t);
  if (bytes.size() < kMagic.size() + (2 * sizeof(std::uint32_t)) + kChecksum) {
    refuse("state bytes end too early");
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksum);
  if (body.substr(0, kMagic.size()) != kMagic) refuse("these are not the bytes of a state");
  ByteReader checksum(bytes.substr(body.size()), kWhat);
  if (checksum.number<std::uint32_t>() != crc32(body)) refuse("state bytes are damaged");

  ByteReader reader(body.substr(kMagic.size()), kWhat);
  const auto format = reader.number<std::uint32_t>();
  if (format != kFormat) {
    refuse("state bytes have format " + std::to_string(format) + ", this version reads format " +
           std::to_string(kFormat));
  }
  const auto num_tensors = reader.number<std::uint32_t>();
  if (num_tensors > StateLayout::kMaxTensors) refuse("state bytes hold too many tensors");
  std::vector<TensorSpec> specs;
  specs.reserve(num_tensors);
  for (std::uint32_t i = 0; i < num_tensors; ++i) specs.push_back(read_spec(reader));
  auto layout = std::make_shared<const StateLayout>(std::move(specs));
  if (reader.left() != value_bytes(*layout)) {
    refuse("state bytes hold another number of values than their shapes ask for");
  }
  FloatBuffer buffer = make_buffer(layout->buffer_size());
  for (std::size_t i = 0; i < layout->size(); ++i) {
    const std::string_view values = reader.take(layout->count(i) * sizeof(float));
    std::memcpy(buffer.get() + layout->offset(i), values.data(), values.size());
  }
  return std::make_shared<const State>(std::move(layout), std::move(buffer));
}

std::string State::to_bytes() const {
  std::string out(kMagic);
  put(out, kFormat);
  put(out, static_cast<std::uint32_t>(size()));
  for (const TensorSpec& spec : layout_->specs()) {
    put(out, static_cast<std::uint32_t>(spec.name.size()));
    out += spec.name;
    put(out, static_cast<std::uint32_t>(spec.shape.size()));
    for (const std::int64_t dim : spec.shape) put(out, dim);
  }
  out.reserve(out.size() + value_bytes(*layout_) + sizeof(std::uint32_t));
  for (std::size_t i = 0; i < size(); ++i) {
    out.append(reinterpret_cast<const char*>(data(i)), layout_->count(i) * sizeof(float));
  }
  put(out, crc32(out));
  return out;
}

bool operator==(const State& a, const State& b) {
  if (a.layout_ != b.layout_ && !(a.layout_->specs() == b.layout_->specs())) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(a.data(i), b.data(i), a.layout_->count(i) * sizeof(float)) != 0) return false;
  }
  return true;
}

}  // namespace edge
