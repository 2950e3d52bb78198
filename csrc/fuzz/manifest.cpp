// manifest.json: refused with bad_bundle, or everything in it is within its caps.
#include "edge/bundle.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  edge::fuzz::only(edge::ErrorCode::kBadBundle, [&] {
    const edge::Manifest manifest = edge::parse_manifest(edge::fuzz::view(data, size));
    const edge::EngineSpec& spec = manifest.spec;
    edge::fuzz::require(manifest.version >= 1 && !manifest.name.empty());
    edge::fuzz::require(spec.ways >= 1 && spec.ways <= 65'536);
    edge::fuzz::require(spec.steps >= 1);
    edge::fuzz::require(spec.loop == edge::InnerLoop::kGradient || spec.steps == 1);
    edge::fuzz::require(spec.outputs >= 0 && (spec.outputs == 0 || spec.ways == 1));
    edge::fuzz::require(static_cast<std::int64_t>(manifest.labels.size()) <= spec.ways);
    edge::fuzz::require(edge::element_count(spec.input_shape) >= 1);
    edge::fuzz::require(edge::element_count(spec.feature_shape) <= (std::size_t{1} << 24U));
    const edge::StateLayout layout(spec.state);  // must be one that states can have
    edge::fuzz::require(layout.find("counts").has_value());
    edge::fuzz::require(manifest.files.size() == 4 || manifest.files.size() == 5);
  });
  return 0;
}
