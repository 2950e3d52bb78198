// manifest.json of format 1: the same checks as those of edge_sdk/manifest_json.py.
#include <algorithm>
#include <map>
#include <unordered_set>

#include "bundle/names.h"
#include "bundle/place.h"
#include "edge/bundle.h"
#include "edge/error.h"

namespace edge {
namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kMaxVersion = (std::int64_t{1} << 31U) - 1;
constexpr std::int64_t kMaxWays = 1 << 16U;
constexpr std::int64_t kMaxElements = kMaxFileBytes / 4;
constexpr std::size_t kMaxTensors = 4096;
constexpr std::size_t kMaxLabelCharacters = 256;
constexpr double kMaxRate = 1e6;

bool starts_name(char c) { return c != '.' && c != '_' && c != '-'; }
bool starts_tensor_name(char c) { return c != '.' && !(c >= '0' && c <= '9'); }

// A state tensor with what only the checks below look at.
struct StateEntry {
  TensorSpec spec;
  std::string role;
};

void check_dtype(const Place& place) { place.look("dtype").choice({"float32"}); }

Shape example_shape(const Place& place) { return place.look("shape").shape(1, kMaxElements); }

StateEntry read_tensor(const Place& place) {
  place.check_keys({"name", "shape", "dtype", "role"});
  check_dtype(place);
  return {{place.look("name").name("_.", &starts_tensor_name),
           place.look("shape").shape(0, kMaxElements)},
          place.look("role").choice({"shared", "slot", "personal"})};
}

FileEntry read_file_entry(const Place& place) {
  place.check_keys({"sha256", "size"});
  return {place.look("sha256").hex_digest(), place.look("size").integer(0, kMaxFileBytes)};
}

template <typename Items, typename Key>
bool are_distinct(const Items& items, const Key& key) {
  std::unordered_set<std::string_view> seen;
  return std::all_of(items.begin(), items.end(),
                     [&](const auto& item) { return seen.insert(key(item)).second; });
}

void check_state_entries(const std::vector<StateEntry>& state, std::int64_t ways,
                         const Place& place) {
  if (!are_distinct(state, [](const StateEntry& e) -> const auto& { return e.spec.name; })) {
    place.refuse("must have distinct names");
  }
  bool has_counts = false;
  std::int64_t total = 0;  // cannot overflow: 4096 tensors of at most kMaxElements
  for (const StateEntry& entry : state) {
    const Shape& shape = entry.spec.shape;
    if (entry.role == "slot" && (shape.empty() || shape.front() != ways)) {
      place.refuse("slot tensor " + entry.spec.name + " must have ways = " + std::to_string(ways) +
                   " rows");
    }
    has_counts = has_counts ||
                 (entry.spec.name == "counts" && entry.role == "personal" && shape == Shape{ways});
    total += static_cast<std::int64_t>(element_count(shape));
  }
  if (!has_counts) {
    place.refuse("must hold a personal tensor counts of shape [" + std::to_string(ways) + "]");
  }
  if (total > kMaxElements) {
    place.refuse("must hold at most " + std::to_string(kMaxElements) + " numbers");
  }
}

std::map<std::string, FileEntry> read_files(const Place& place) {
  std::map<std::string, FileEntry> files;
  const std::vector<Place> entries = place.mapping();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    files.emplace(place.keys()[i], read_file_entry(entries[i]));
  }
  for (const std::string_view name : kRequiredNames) {
    if (files.find(std::string(name)) == files.end()) {
      place.refuse("must list " + std::string(name));
    }
  }
  const auto is_compiled = [](const auto& file) { return is_compiled_embed(file.first); };
  const auto num_compiled =
      static_cast<std::size_t>(std::count_if(files.begin(), files.end(), is_compiled));
  const std::size_t num_embed = files.count(std::string(kEmbedName));
  if (num_compiled > 0 && num_embed == 0) {
    place.refuse("must list embed.onnx, which others are compiled from");
  }
  const std::size_t num_probe = files.count(std::string(kProbeName));
  if (files.size() > kRequiredNames.size() + num_embed + num_compiled + num_probe) {
    place.refuse("must not list other files than those of a bundle");
  }
  return files;
}

void check_top_keys(const Place& top) {
  const std::int64_t format = top.look("format").integer(1, kMaxVersion);
  if (format != kFormat) {
    top.look("format").refuse("is " + std::to_string(format) + ", this version reads format " +
                              std::to_string(kFormat));
  }
  top.check_keys(
      {"format", "name", "version", "parent", "learner", "adaptation", "steps", "ways", "labels",
       "input", "features", "state", "quantization", "quality", "provenance", "files"},
      {"expires", "kernel", "outputs", "task", "variance"});
}

// The parts that a device has no use for; they are checked all the same.
void check_the_rest(const Place& top) {
  const Place parent = top.look("parent");
  if (!parent.is_null()) parent.hex_digest();
  for (const Place& value : top.look("quantization").mapping()) value.text(1, 128);
  for (const Place& value : top.look("quality").mapping()) value.check_number();
  top.look("provenance").mapping();
}

std::vector<std::string> read_labels(const Place& place, std::int64_t ways) {
  std::vector<std::string> labels;
  for (const Place& item : place.sequence(kMaxWays)) {
    labels.push_back(item.text(1, kMaxLabelCharacters));
  }
  if (!are_distinct(labels, [](const std::string& label) -> const auto& { return label; })) {
    place.refuse("must be distinct");
  }
  if (static_cast<std::int64_t>(labels.size()) > ways) {
    place.refuse("must be at most ways = " + std::to_string(ways));
  }
  return labels;
}

double in_range(const Place& place, bool with_zero) {
  const double value = place.number();
  if ((with_zero ? value >= 0 : value > 0) && value <= kMaxRate) return value;
  place.refuse(std::string("must be ") + (with_zero ? ">= 0" : "> 0") + " and at most 1e+06");
}

SoftmaxSgd read_softmax_sgd(const Place& place) {
  place.check_keys({"kind", "weight", "bias", "rate", "rate_per_slot", "momentum"});
  SoftmaxSgd kernel;
  kernel.weight = place.look("weight").name("_.", &starts_tensor_name);
  kernel.bias = place.look("bias").name("_.", &starts_tensor_name);
  kernel.rate = in_range(place.look("rate"), false);
  kernel.rate_per_slot = place.look("rate_per_slot").boolean();
  kernel.momentum = place.look("momentum").number();
  if (!(kernel.momentum >= 0 && kernel.momentum < 1)) {
    place.look("momentum").refuse("must be in [0, 1)");
  }
  return kernel;
}

RidgeSolve read_ridge(const Place& place) {
  place.check_keys(
      {"kind", "weight", "gram", "moments", "ridge", "ridge_per_weight", "scale", "unit_rows"});
  RidgeSolve kernel;
  kernel.weight = place.look("weight").name("_.", &starts_tensor_name);
  kernel.gram = place.look("gram").name("_.", &starts_tensor_name);
  kernel.moments = place.look("moments").name("_.", &starts_tensor_name);
  kernel.ridge = in_range(place.look("ridge"), false);
  kernel.ridge_per_weight = in_range(place.look("ridge_per_weight"), true);
  kernel.scale = in_range(place.look("scale"), false);
  kernel.unit_rows = place.look("unit_rows").boolean();
  return kernel;
}

// The tensors that a kernel works on, as (name, shape), in the order of its keys.
using Tensors = std::vector<TensorSpec>;

Tensors tensors_of(const SoftmaxSgd& kernel, std::int64_t ways, std::int64_t dim) {
  Tensors tensors = {{kernel.weight, {ways, dim}}, {kernel.bias, {ways}}};
  if (kernel.momentum > 0) {
    tensors.push_back({kernel.weight + ".velocity", {ways, dim}});
    tensors.push_back({kernel.bias + ".velocity", {ways}});
  }
  return tensors;
}

Tensors tensors_of(const RidgeSolve& kernel, std::int64_t ways, std::int64_t dim) {
  return {{kernel.weight, {ways, dim}}, {kernel.gram, {dim, dim}}, {kernel.moments, {ways, dim}}};
}

// A kernel covers the whole state, so that nothing is left for a graph to do.
Kernel read_kernel(const Place& place, const EngineSpec& spec,
                   const std::vector<StateEntry>& state) {
  const bool is_ridge = place.look("kind").choice({"softmax_sgd", "ridge"}) == "ridge";
  const Kernel kernel = is_ridge ? Kernel(read_ridge(place)) : Kernel(read_softmax_sgd(place));
  if (spec.loop != (is_ridge ? InnerLoop::kClosedForm : InnerLoop::kGradient)) {
    place.refuse(is_ridge ? "needs a closed-form bundle" : "needs a gradient bundle");
  }
  if (spec.outputs > 0) place.refuse("needs a bundle that learns labels");
  if (spec.variance) place.refuse("must not be where there is a variance");
  if (spec.feature_shape.size() != 1) place.refuse("needs features of one axis");
  Tensors tensors = std::visit(
      [&](const auto& k) { return tensors_of(k, spec.ways, spec.feature_shape[0]); }, kernel);
  tensors.push_back({"counts", {spec.ways}});
  if (!are_distinct(tensors, [](const TensorSpec& t) -> const auto& { return t.name; })) {
    place.refuse("must name different tensors, and not counts");
  }
  std::map<std::string, Shape> wanted;
  for (const TensorSpec& tensor : tensors) wanted[tensor.name] = tensor.shape;
  std::map<std::string, Shape> found;
  for (const StateEntry& entry : state) found[entry.spec.name] = entry.spec.shape;
  if (found != wanted) place.refuse("needs a state of exactly the tensors it adapts and counts");
  return kernel;
}

// What is learned and predicted: labels, or the `outputs` numbers of a regression.
void read_task(const Place& top, EngineSpec& spec) {
  const auto task = top.find("task");
  const bool regression = task && task->choice({"classification", "regression"}) == "regression";
  const auto outputs = top.find("outputs");
  if (regression != outputs.has_value()) {
    (regression ? top : *outputs).refuse("outputs must be there for a regression, and only then");
  }
  if (outputs) spec.outputs = outputs->integer(1, kMaxWays);
  if (const auto variance = top.find("variance")) spec.variance = variance->boolean();
  if (regression && spec.ways != 1) top.look("ways").refuse("must be 1 for a regression");
  if (regression && !top.look("labels").sequence(kMaxWays).empty()) {
    top.look("labels").refuse("must be empty for a regression");
  }
}

EngineSpec read_spec(const Place& top) {
  EngineSpec spec;
  spec.loop =
      inner_loop_of(top.look("adaptation").choice({"gradient", "closed_form", "sequential"}));
  spec.steps = top.look("steps").integer(1, Engine::kMaxSteps);
  if (spec.loop != InnerLoop::kGradient && spec.steps != 1) {
    top.look("steps").refuse("must be 1 unless adaptation is gradient");
  }
  spec.ways = top.look("ways").integer(1, kMaxWays);
  read_task(top, spec);

  const Place input = top.look("input");
  input.check_keys({"shape", "dtype", "description"});
  check_dtype(input);
  input.look("description").text(0, 1000);
  spec.input_shape = example_shape(input);

  const Place features = top.look("features");
  features.check_keys({"shape", "dtype"});
  check_dtype(features);
  spec.feature_shape = example_shape(features);

  std::vector<StateEntry> state;
  for (const Place& item : top.look("state").sequence(kMaxTensors)) {
    state.push_back(read_tensor(item));
  }
  check_state_entries(state, spec.ways, top.look("state"));
  if (const auto kernel = top.find("kernel")) spec.kernel = read_kernel(*kernel, spec, state);
  for (StateEntry& entry : state) spec.state.push_back(std::move(entry.spec));
  return spec;
}

}  // namespace

Manifest parse_manifest(std::string_view bytes) {
  const Json json = parse_json(kManifestName, bytes);
  const Place top(kManifestName, "", json);
  check_top_keys(top);
  Manifest manifest;
  manifest.name = top.look("name").name("._-", &starts_name);
  manifest.version = top.look("version").integer(1, kMaxVersion);
  manifest.learner = top.look("learner").name("._-", &starts_name);
  manifest.spec = read_spec(top);
  manifest.labels = read_labels(top.look("labels"), manifest.spec.ways);
  if (const auto expires = top.find("expires")) {
    expires->check_date();
    manifest.expires = expires->text(10, 10);
  }
  check_the_rest(top);
  manifest.files = read_files(top.look("files"));
  const bool has_embed = manifest.files.count(std::string(kEmbedName)) != 0;
  if (!has_embed && manifest.spec.feature_shape != manifest.spec.input_shape) {
    top.look("features").refuse("must have the input's shape where there is no embed.onnx");
  }
  return manifest;
}

}  // namespace edge
