// The check of a graph's bytes: any damage is accepted or refused, and refused with one error.
// The cases one by one are in tests/hostile/test_hostile_graph.py.
#include "graph_check.h"

#include <cmath>
#include <string>

#include "edge/error.h"
#include "learner.h"
#include "onnx_ops.h"
#include "onnx_writer.h"
#include "test.h"

namespace edge::test {
namespace {

bool accepted(const std::string& bytes) {
  try {
    check_graph("g.onnx", bytes);
    return true;
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kBadBundle);
    CHECK(std::string(error.what()).find("g.onnx: ") == 0);
    return false;
  }
}

TEST(every_damage_is_answered) {
  const std::string whole = Learner().adapt;
  CHECK(accepted(whole));
  std::size_t refused = 0;
  for (std::size_t place = 0; place < whole.size(); ++place) {
    CHECK(!accepted(whole.substr(0, place)));
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::string bad = whole;
      bad[place] = static_cast<char>(static_cast<unsigned char>(bad[place]) ^ (1U << bit));
      if (!accepted(bad)) ++refused;
    }
  }
  CHECK(refused > whole.size());
}

TEST(stored_numbers_are_finite) {
  CHECK(accepted(Learner::init_graph(1.0F).bytes()));
  CHECK_THROWS(kBadBundle, "g.onnx: tensor w0 holds NaN or infinity",
               check_graph("g.onnx", Learner::init_graph(NAN).bytes()));
  CHECK_THROWS(kBadBundle, "g.onnx: tensor w0 holds NaN or infinity",
               check_graph("g.onnx", Learner::init_graph(-INFINITY).bytes()));
}

TEST(the_operator_list_is_in_order) {
  // a binary search finds these only in a sorted list: its ends, its middle, capitals
  for (const char* op : {"Abs", "Xor", "Loop", "GRU", "Gather", "LRN", "LSTM", "LayerNormalization",
                         "RMSNormalization", "Range", "STFT", "Scan", "DFT", "DepthToSpace"}) {
    CHECK(is_allowed_op("", op));
    CHECK(is_allowed_op("ai.onnx", op));
    CHECK(!is_allowed_op("com.microsoft", op));
  }
  for (const char* op : {"", "abs", "Xorr", "RandomNormal", "ImageDecoder", "Optional"}) {
    CHECK(!is_allowed_op("", op));
  }
}

}  // namespace
}  // namespace edge::test
