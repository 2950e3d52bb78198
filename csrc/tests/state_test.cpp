// State: comparison, the byte round trip, and every way to damage it.
#include "edge/state.h"

#include <cmath>
#include <cstring>

#include "crc32.h"
#include "test.h"

namespace edge {
namespace {

StatePtr example() {
  const float w[] = {1.5F, -0.0F, 3, 4, 5, 6};
  const float rate[] = {0.25F};
  return State::from_tensors({{"w", {2, 3}}, {"rate", {}}}, {w, rate});
}

StatePtr single(const std::string& name, const Shape& shape) {
  const std::vector<float> data(64, 1.0F);
  return State::from_tensors({{name, shape}}, {data.data()});
}

// Puts the right checksum under bytes that were changed.
std::string resealed(std::string bytes) {
  bytes.resize(bytes.size() - 4);
  const std::uint32_t crc = crc32(bytes);
  char raw[4];
  std::memcpy(raw, &crc, 4);
  return bytes.append(raw, 4);
}

TEST(checksum_is_the_common_one) {
  CHECK(crc32("123456789") == 0xCBF43926U);
  CHECK(crc32("") == 0);
  CHECK(crc32("The quick brown fox jumps over the lazy dog") == 0x414FA339U);
}

TEST(holds_copies_in_the_given_order) {
  const StatePtr state = example();
  CHECK(state->size() == 2);
  CHECK(state->spec(0).name == "w");
  CHECK(state->spec(1).name == "rate");
  CHECK(state->data(0)[5] == 6);
  CHECK(state->data(1)[0] == 0.25F);
  CHECK(state->layout()->find("rate") == std::size_t{1});
  CHECK(!state->layout()->find("nothing"));
}

TEST(equality_is_bitwise) {
  const float zero[] = {0.0F};
  const float minus_zero[] = {-0.0F};
  const float nan[] = {std::nanf("")};
  const auto make = [](const char* name, const Shape& shape, const float* data) {
    return State::from_tensors({{name, shape}}, {data});
  };
  CHECK(*example() == *example());
  CHECK(*make("a", {}, nan) == *make("a", {}, nan));
  CHECK(*make("a", {}, zero) != *make("a", {}, minus_zero));
  CHECK(*make("a", {}, zero) != *make("b", {}, zero));
  CHECK(*make("a", {}, zero) != *make("a", {1}, zero));
  CHECK(*make("a", {}, zero) != *example());
}

TEST(knows_its_first_non_finite_tensor) {
  const float fine[] = {1.0F};
  const float bad[] = {INFINITY};
  CHECK(!example()->non_finite());
  CHECK(State::from_tensors({{"a", {}}, {"b", {}}}, {fine, bad})->non_finite() == std::size_t{1});
}

TEST(bytes_round_trip_and_are_the_same_each_time) {
  const StatePtr state = example();
  const std::string bytes = state->to_bytes();
  CHECK(bytes == example()->to_bytes());
  const StatePtr read = State::from_bytes(bytes);
  CHECK(*read == *state);
  CHECK(read->to_bytes() == bytes);
}

TEST(bytes_are_as_documented) {
  const float one[] = {1.0F};
  const std::string bytes = State::from_tensors({{"a", {1}}}, {one})->to_bytes();
  const std::string want = std::string("EDGESTAT") + std::string("\1\0\0\0\1\0\0\0", 8) +
                           std::string("\1\0\0\0a\1\0\0\0", 9) +
                           std::string("\1\0\0\0\0\0\0\0", 8) + std::string("\0\0\x80\x3f", 4);
  CHECK(bytes.substr(0, bytes.size() - 4) == want);
}

TEST(any_damaged_byte_is_refused) {
  const std::string bytes = example()->to_bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      CHECK_THROWS(kBadState, "", State::from_bytes(damaged));
    }
  }
}

TEST(any_truncation_or_addition_is_refused) {
  const std::string bytes = example()->to_bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_THROWS(kBadState, "", State::from_bytes(bytes.substr(0, size)));
  }
  CHECK_THROWS(kBadState, "damaged", State::from_bytes(bytes + '\0'));
}

TEST(hostile_bytes_with_a_right_checksum_are_refused) {
  const std::string bytes = example()->to_bytes();
  for (std::size_t i = 0; i < bytes.size() - 4; ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(0xFF);
    if (i < 8 + 4 + 4 + 4) {  // magic, format, number of tensors, length of a name
      CHECK_THROWS(kBadState, "", State::from_bytes(resealed(changed)));
      continue;
    }
    try {  // a name, an axis or a value: refused, or a whole other state
      CHECK(State::from_bytes(resealed(changed))->size() == 2);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::kBadState);
    }
  }
  std::string huge = bytes;  // an axis of 2^59 must not be allocated
  huge[8 + 4 + 4 + 4 + 1 + 4 + 7] = 8;
  CHECK_THROWS(kBadState, "too large", State::from_bytes(resealed(huge)));
  std::string future = bytes;
  future[8] = 2;
  CHECK_THROWS(kBadState, "format 2", State::from_bytes(resealed(future)));
}

TEST(names_shapes_and_caps_are_checked) {
  CHECK_THROWS(kBadState, "1 to 4096 tensors", State::from_tensors({}, {}));
  CHECK_THROWS(kBadState, "printable", single("", {1}));
  CHECK_THROWS(kBadState, "printable", single("two words", {1}));
  CHECK_THROWS(kBadState, "printable", single(std::string(257, 'a'), {1}));
  CHECK_THROWS(kBadState, "printable", single("\xc3\xa9", {1}));
  CHECK_THROWS(kBadState, ">= 1", single("a", {2, 0}));
  CHECK_THROWS(kBadState, ">= 1", single("a", {-2}));
  CHECK_THROWS(kBadState, "axes", single("a", Shape(9, 1)));
  CHECK_THROWS(kBadState, "too large", single("a", {std::int64_t{1} << 62, 8}));
  const float one[] = {1.0F};
  CHECK_THROWS(kBadState, "twice", State::from_tensors({{"a", {}}, {"a", {}}}, {one, one}));
  CHECK_THROWS(kBadState, "one array", State::from_tensors({{"a", {}}}, {one, one}));
  CHECK_THROWS(kBadState, "more than", StateLayout({{"a", {1 << 30}}, {"b", {1}}}));
}

}  // namespace
}  // namespace edge
