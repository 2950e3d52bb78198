// ExampleSet: adding, forgetting, the byte round trip, and every way to damage it.
#include "edge/example_set.h"

#include <cmath>
#include <cstring>

#include "crc32.h"
#include "test.h"

namespace edge {
namespace {

const ExampleBinding kBinding = {"sha256:backbone", {2}, 4};

void add(ExampleSet& set, const std::vector<float>& features,
         const std::vector<std::int64_t>& slots) {
  const auto n = static_cast<std::int64_t>(slots.size());
  set.add({features.data(), {n, 2}}, {slots.data(), {n}});
}

ExampleSet example() {
  ExampleSet set(kBinding);
  add(set, {1, 2, 3, 4, 5, 6}, {0, 1, 0});
  add(set, {7, -0.0F}, {3});
  return set;
}

std::vector<float> features_of(const ExampleSet& set) {
  return {set.feature_data(), set.feature_data() + (2 * set.size())};
}

std::vector<std::int64_t> slots_of(const ExampleSet& set) {
  return {set.slot_data(), set.slot_data() + set.size()};
}

std::string resealed(std::string bytes) {
  bytes.resize(bytes.size() - 4);
  const std::uint32_t crc = crc32(bytes);
  return bytes.append(reinterpret_cast<const char*>(&crc), 4);
}

TEST(keeps_examples_in_the_order_taught) {
  const ExampleSet set = example();
  CHECK(set.size() == 4);
  CHECK(slots_of(set) == (std::vector<std::int64_t>{0, 1, 0, 3}));
  CHECK(features_of(set) == (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 0}));
  CHECK(set.features().shape == (Shape{4, 2}));
  CHECK(set.slots().shape == (Shape{4}));
}

TEST(a_refused_example_changes_nothing) {
  ExampleSet set = example();
  const std::string before = set.to_bytes();
  const float one[] = {1, 2};
  const float bad[] = {1, NAN};
  const std::int64_t slot[] = {0};
  const std::int64_t far[] = {4};
  CHECK_THROWS(kNonFinite, "features", set.add({bad, {1, 2}}, {slot, {1}}));
  CHECK_THROWS(kLabelRange, "labels[0]", set.add({one, {1, 2}}, {far, {1}}));
  CHECK_THROWS(kShapeMismatch, "[n, 2]", set.add({one, {2, 1}}, {slot, {1}}));
  CHECK_THROWS(kShapeMismatch, "[1]", set.add({one, {1, 2}}, {slot, {0}}));
  CHECK_THROWS(kEmptySupport, "at least one", set.add({one, {0, 2}}, {slot, {0}}));
  CHECK(set.to_bytes() == before);
}

TEST(a_forgotten_slot_leaves_what_was_never_taught) {
  ExampleSet set = example();
  CHECK(set.remove_slot(0) == 2);
  CHECK(set.remove_slot(0) == 0);
  ExampleSet never(kBinding);
  add(never, {3, 4, 7, -0.0F}, {1, 3});
  CHECK(set.to_bytes() == never.to_bytes());
  set.remove_slot(1);
  set.remove_slot(3);
  CHECK(set.size() == 0);
  CHECK(set.to_bytes() == ExampleSet(kBinding).to_bytes());
}

TEST(bytes_round_trip_and_are_the_same_each_time) {
  const std::string bytes = example().to_bytes();
  const ExampleSet read = ExampleSet::from_bytes(bytes, kBinding);
  CHECK(read.to_bytes() == bytes);
  CHECK(features_of(read) == features_of(example()));
  CHECK(std::signbit(read.feature_data()[7]));
  const ExampleSet none = ExampleSet::from_bytes(ExampleSet(kBinding).to_bytes(), kBinding);
  CHECK(none.size() == 0);
}

TEST(bytes_are_as_documented) {
  ExampleSet set({"id", {2}, 4});
  add(set, {1, 2}, {3});
  const std::string bytes = set.to_bytes();
  const std::string want = std::string("EDGEEXAM") + std::string("\1\0\0\0\2\0\0\0id", 10) +
                           std::string("\1\0\0\0\2\0\0\0\0\0\0\0", 12) +
                           std::string("\1\0\0\0\0\0\0\0", 8) + std::string("\3\0\0\0\0\0\0\0", 8) +
                           std::string("\0\0\x80\x3f\0\0\0\x40", 8);
  CHECK(bytes.substr(0, bytes.size() - 4) == want);
}

TEST(any_damaged_byte_is_refused) {
  const std::string bytes = example().to_bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      CHECK_THROWS(kBadState, "", ExampleSet::from_bytes(damaged, kBinding));
    }
  }
}

TEST(any_truncation_or_addition_is_refused) {
  const std::string bytes = example().to_bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_THROWS(kBadState, "", ExampleSet::from_bytes(bytes.substr(0, size), kBinding));
    if (size < 4) continue;
    CHECK_THROWS(kBadState, "", ExampleSet::from_bytes(resealed(bytes.substr(0, size)), kBinding));
  }
  CHECK_THROWS(kBadState, "damaged", ExampleSet::from_bytes(bytes + '\0', kBinding));
}

TEST(hostile_bytes_with_a_right_checksum_are_refused) {
  const std::string bytes = example().to_bytes();
  const std::size_t header = 8 + 4 + 4 + kBinding.embed_identity.size() + 4 + 8 + 8;
  for (std::size_t i = 0; i < header; ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(0xFF);
    CHECK_THROWS(kBadState, "", ExampleSet::from_bytes(resealed(changed), kBinding));
  }
  std::string future = bytes;
  future[8] = 2;
  CHECK_THROWS(kBadState, "format 2", ExampleSet::from_bytes(resealed(future), kBinding));
  std::string slot = bytes;
  slot[header] = 4;
  CHECK_THROWS(kBadState, "outside 0..3", ExampleSet::from_bytes(resealed(slot), kBinding));
  std::string infinite = bytes;
  const float infinity = INFINITY;
  std::memcpy(infinite.data() + header + (4 * 8), &infinity, sizeof infinity);
  CHECK_THROWS(kBadState, "NaN", ExampleSet::from_bytes(resealed(infinite), kBinding));
}

TEST(examples_of_another_bundle_are_refused) {
  const std::string bytes = example().to_bytes();
  CHECK_THROWS(kBadState, "another embed.onnx",
               ExampleSet::from_bytes(bytes, {"sha256:other", {2}, 4}));
  CHECK_THROWS(kBadState, "another embed.onnx",
               ExampleSet::from_bytes(bytes, {"sha256:backbone", {1, 2}, 4}));
  CHECK_THROWS(kBadState, "outside 0..2",
               ExampleSet::from_bytes(bytes, {"sha256:backbone", {2}, 3}));
  CHECK(ExampleSet::from_bytes(bytes, {"sha256:backbone", {2}, 9}).size() == 4);
}

}  // namespace
}  // namespace edge
