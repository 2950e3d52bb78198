// State bytes: refused with bad_state, or read and written again as the same bytes.
#include "edge/state.h"

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using edge::State;
  const std::string_view raw = edge::fuzz::view(data, size);
  edge::fuzz::only(edge::ErrorCode::kBadState, [&] { State::from_bytes(raw); });
  edge::fuzz::only(edge::ErrorCode::kBadState, [&] {
    const std::string bytes = edge::fuzz::sealed(raw);
    const edge::StatePtr state = State::from_bytes(bytes);
    edge::fuzz::require(state->to_bytes() == bytes);
  });
  return 0;
}
