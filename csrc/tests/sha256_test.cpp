// SHA-256: the standard's examples, and every length around a block's end.
#include "bundle/sha256.h"

#include "test.h"

namespace edge {
namespace {

TEST(gives_the_digests_of_the_standard) {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_hex(std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(pads_every_length_around_a_block) {
  // The digest of the digests of "a" * n, n = 50..130, as Python's hashlib gives it.
  std::string digests;
  for (std::size_t n = 50; n <= 130; ++n) digests += sha256_hex(std::string(n, 'a'));
  CHECK(sha256_hex(digests) == "68a3f63b877cc73d96306bfce32a00f268beb00bdbc98661677f57265748f22f");
}

}  // namespace
}  // namespace edge
