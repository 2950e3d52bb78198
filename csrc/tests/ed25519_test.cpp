// SHA-512 and Ed25519 verification: the standards' examples, and everything that must not pass.
#include "bundle/ed25519.h"

#include <string>

#include "bundle/sha512.h"
#include "test.h"

namespace edge {
namespace {

std::string unhex(std::string_view digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

PublicKey key_of(std::string_view digits) {
  PublicKey key{};
  const std::string bytes = unhex(digits);
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(bytes.at(i));
  return key;
}

std::string digest(std::string_view message) {
  const auto bytes = sha512({message});
  return {bytes.begin(), bytes.end()};
}

// RFC 8032, section 7.1: TEST 1, 2, 3 and SHA(abc).
struct Vector {
  const char* key;
  const char* message;
  const char* signature;
};
constexpr Vector kVectors[] = {
    {"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
    {"ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
     "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
     "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
     "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"},
};

TEST(sha512_gives_the_digests_of_the_standard) {
  CHECK(digest("") == unhex("cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
                            "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"));
  CHECK(digest("abc") == unhex(kVectors[3].message));
  const auto parts = sha512({"a", "", "bc"});
  CHECK(std::string(parts.begin(), parts.end()) == digest("abc"));
}

TEST(sha512_pads_every_length_around_a_block) {
  // The digest of the digests of "a" * n, n = 100..260, as Python's hashlib gives it.
  std::string digests;
  for (std::size_t n = 100; n <= 260; ++n) digests += digest(std::string(n, 'a'));
  CHECK(digest(digests) ==
        unhex("53dd836ba177214004293b59bb2f408b00647a47c454f6836c9aa1c72efac620"
              "089bbd8db7086354c065f9783515bfc14e4a3292a85fc06e675c6dd0cae50854"));
}

TEST(good_signatures_pass) {
  for (const Vector& v : kVectors) {
    CHECK(is_public_key(key_of(v.key)));
    CHECK(verify_ed25519(key_of(v.key), unhex(v.signature), unhex(v.message)));
  }
}

TEST(another_key_message_or_length_does_not) {
  const std::string signature = unhex(kVectors[1].signature);
  CHECK(!verify_ed25519(key_of(kVectors[2].key), signature, "r"));
  CHECK(!verify_ed25519(key_of(kVectors[1].key), signature, "s"));
  CHECK(!verify_ed25519(key_of(kVectors[1].key), signature, ""));
  CHECK(!verify_ed25519(key_of(kVectors[1].key), signature.substr(0, 63), "r"));
  CHECK(!verify_ed25519(key_of(kVectors[1].key), signature + '\0', "r"));
  CHECK(!verify_ed25519(key_of(kVectors[1].key), "", "r"));
}

TEST(no_bit_of_a_signature_or_key_may_be_another) {
  const PublicKey key = key_of(kVectors[1].key);
  const std::string signature = unhex(kVectors[1].signature);
  for (std::size_t i = 0; i < 8 * signature.size(); ++i) {
    std::string damaged = signature;
    damaged[i / 8] = static_cast<char>(damaged[i / 8] ^ (1U << (i % 8)));
    CHECK(!verify_ed25519(key, damaged, "r"));
  }
  for (std::size_t i = 0; i < 8 * key.size(); ++i) {
    PublicKey damaged = key;
    damaged[i / 8] = static_cast<std::uint8_t>(damaged[i / 8] ^ (1U << (i % 8)));
    CHECK(!verify_ed25519(damaged, signature, "r"));
  }
}

TEST(s_must_be_below_the_order) {
  // S + L satisfies the equation too: whoever took it could make a second signature from a first.
  const std::string order =
      unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  for (const Vector& v : kVectors) {
    std::string forged = unhex(v.signature);
    unsigned carry = 0;
    for (std::size_t i = 0; i < 32; ++i) {
      carry += static_cast<unsigned char>(forged[32 + i]) + static_cast<unsigned char>(order[i]);
      forged[32 + i] = static_cast<char>(carry & 0xFFU);
      carry >>= 8U;
    }
    CHECK(carry == 0);
    CHECK(!verify_ed25519(key_of(v.key), forged, unhex(v.message)));
  }
}

TEST(keys_of_small_order_are_none) {
  // The eight points whose order divides 8 (in both signs of x where that has any).
  const char* const keys[] = {
      "0100000000000000000000000000000000000000000000000000000000000000",
      "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "0000000000000000000000000000000000000000000000000000000000000000",
      "0000000000000000000000000000000000000000000000000000000000000080",
      "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
      "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  };
  const std::string anything = std::string(1, '\1') + std::string(63, '\0');  // R = 0, S = 0
  for (const char* const key : keys) {
    CHECK(!is_public_key(key_of(key)));
    CHECK(!verify_ed25519(key_of(key), anything, "any message"));
  }
}

TEST(what_encodes_no_point_or_not_in_the_one_way_is_no_key) {
  const char* const keys[] = {
      // y = 2: (y^2 - 1) / (d y^2 + 1) is no square
      "0200000000000000000000000000000000000000000000000000000000000000",
      // y = 1 and y = -1 have x = 0, which has no odd sibling
      "0100000000000000000000000000000000000000000000000000000000000080",
      "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
      // y = p, p + 1 and 2^255 - 1: not below p
      "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
      "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  };
  for (const char* const key : keys) CHECK(!is_public_key(key_of(key)));
}

TEST(a_neutral_r_needs_its_one_encoding) {
  // With k = 0 impossible, R = [S]B - [k]A is compared as bytes: R = p + 1 is not R = 1.
  std::string signature(64, '\0');
  signature[0] = '\xee';
  for (std::size_t i = 1; i < 31; ++i) signature[i] = '\xff';
  signature[31] = '\x7f';
  CHECK(!verify_ed25519(key_of(kVectors[0].key), signature, ""));
}

}  // namespace
}  // namespace edge
