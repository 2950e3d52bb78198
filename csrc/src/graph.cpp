// Matches a session's ports with what the bundle promises.
#include "graph.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "edge/error.h"
#include "graph_check.h"

namespace edge {
namespace {

std::string describe(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + (shape[i] < 0 ? std::string("n") : std::to_string(shape[i]));
  }
  return text + "]";
}

const char* dtype_name(int element_type) {
  if (element_type == ort::kElementFloat) return "float32";
  if (element_type == ort::kElementInt64) return "int64";
  return "another dtype";
}

// Whether a declared shape can be what is promised: n is symbolic, any other axis symbolic or
// equal.
bool fits(const Shape& declared, const Shape& promised) {
  if (declared.size() != promised.size()) return false;
  for (std::size_t i = 0; i < declared.size(); ++i) {
    if (declared[i] >= 0 && declared[i] != promised[i]) return false;
  }
  return true;
}

// Spec index of each port, in the session's order.
std::vector<std::size_t> match(const std::string& file, const char* kind,
                               const std::vector<ort::Port>& ports,
                               const std::vector<PortSpec>& specs) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::kBadBundle, file + ": " + what);
  };
  std::vector<std::size_t> found;
  for (const ort::Port& port : ports) {
    const auto spec = std::find_if(specs.begin(), specs.end(),
                                   [&](const PortSpec& s) { return s.name == port.name; });
    if (spec == specs.end()) refuse(std::string("unexpected ") + kind + " " + port.name);
    const std::string which = std::string(kind) + " " + port.name;
    if (port.element_type != spec->element_type) {
      refuse(which + " must be " + dtype_name(spec->element_type) + ", it is " +
             dtype_name(port.element_type));
    }
    if (!fits(port.shape, spec->shape)) {
      refuse(which + " must have shape " + describe(spec->shape) + ", it has " +
             describe(port.shape));
    }
    found.push_back(static_cast<std::size_t>(spec - specs.begin()));
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const bool present = std::find(found.begin(), found.end(), i) != found.end();
    if (specs[i].required && !present) {
      refuse(std::string(kind) + " " + specs[i].name + " is missing");
    }
  }
  return found;
}

// The first axis of an accelerator's first input, where that is fixed.
std::int64_t fixed_batch(const std::string& file, const std::vector<ort::Port>& inputs,
                         const Accelerator* accelerator) {
  if (accelerator == nullptr || inputs.empty() || inputs[0].shape.empty()) return 0;
  const std::int64_t batch = inputs[0].shape[0];
  if (batch < 0) return 0;
  if (batch < 1 || batch > kMaxBatch) {
    throw Error(ErrorCode::kBadBundle, file + ": the batch must be in 1.." +
                                           std::to_string(kMaxBatch) + ", it is " +
                                           std::to_string(batch));
  }
  return batch;
}

// What is promised, for a graph whose n is fixed.
std::vector<PortSpec> with_batch(std::vector<PortSpec> specs, std::int64_t batch) {
  for (PortSpec& spec : specs) {
    if (batch > 0 && !spec.shape.empty() && spec.shape[0] == kAnyCount) spec.shape[0] = batch;
  }
  return specs;
}

std::string_view checked(const std::string& file, std::string_view bytes) {
  check_graph(file, bytes);
  return bytes;
}

std::vector<ort::ValueHandle*> pick(const std::vector<ort::ValueHandle*>& values,
                                    const std::vector<std::size_t>& indices) {
  std::vector<ort::ValueHandle*> picked;
  picked.reserve(indices.size());
  for (const std::size_t i : indices) picked.push_back(values[i]);
  return picked;
}

}  // namespace

Shape batch_of(const Shape& example_shape, std::int64_t n) {
  Shape shape = {n};
  shape.insert(shape.end(), example_shape.begin(), example_shape.end());
  return shape;
}

std::vector<PortSpec> state_ports(const StateLayout& layout, const char* prefix, bool required) {
  std::vector<PortSpec> ports;
  for (const TensorSpec& spec : layout.specs()) {
    ports.push_back({prefix + spec.name, ort::kElementFloat, spec.shape, required});
  }
  return ports;
}

std::vector<PortSpec> operator+(std::vector<PortSpec> ports, std::vector<PortSpec> more) {
  ports.insert(ports.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
  return ports;
}

Graph::Graph(const ort::Runtime& runtime, const std::string& file, std::string_view bytes,
             int threads, const std::vector<PortSpec>& inputs, const std::vector<PortSpec>& outputs,
             const Accelerator* accelerator)
    : session_(runtime, file, checked(file, bytes), threads, accelerator),
      batch_(fixed_batch(file, session_.inputs(), accelerator)),
      input_specs_(match(file, "input", session_.inputs(), with_batch(inputs, batch_))),
      output_specs_(match(file, "output", session_.outputs(), with_batch(outputs, batch_))) {}

void Graph::run(const std::vector<ort::ValueHandle*>& inputs,
                const std::vector<ort::ValueHandle*>& outputs) const {
  const std::vector<ort::ValueHandle*> fed = pick(inputs, input_specs_);
  std::vector<ort::ValueHandle*> fetched = pick(outputs, output_specs_);
  session_.run(fed, fetched);
}

bool Graph::reads(std::size_t spec_index) const {
  return std::find(input_specs_.begin(), input_specs_.end(), spec_index) != input_specs_.end();
}

}  // namespace edge
