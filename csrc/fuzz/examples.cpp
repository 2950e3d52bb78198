// Example-set bytes: refused with bad_state, or read and written again as the same bytes.
#include "edge/example_set.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using edge::ExampleSet;
  const std::string_view raw = edge::fuzz::view(data, size);
  const edge::ExampleBinding binding = {"input:a:[2]", {2}, 4};
  edge::fuzz::only(edge::ErrorCode::kBadState, [&] { ExampleSet::from_bytes(raw, binding); });
  edge::fuzz::only(edge::ErrorCode::kBadState, [&] {
    const std::string bytes = edge::fuzz::sealed(raw);
    ExampleSet set = ExampleSet::from_bytes(bytes, binding);
    edge::fuzz::require(set.to_bytes() == bytes);
    const std::size_t before = set.size();
    const std::size_t removed = set.remove_slot(1);
    edge::fuzz::require(set.size() + removed == before);
    edge::fuzz::require(ExampleSet::from_bytes(set.to_bytes(), binding).size() == set.size());
  });
  return 0;
}
