// Loads graphs from memory and runs them.
#include "ort/session.h"

#include <utility>

#include "edge/error.h"
#include "ort/accelerator.h"

namespace edge::ort {
namespace {

struct ReleaseOptions {
  const Runtime* runtime;
  void operator()(SessionOptions* options) const noexcept {
    runtime->call<slots::ReleaseSessionOptions>(options);
  }
};
using OptionsPtr = std::unique_ptr<SessionOptions, ReleaseOptions>;

struct ReleaseType {
  const Runtime* runtime;
  void operator()(TypeInfo* info) const noexcept { runtime->call<slots::ReleaseTypeInfo>(info); }
};

OptionsPtr make_options(const Runtime& runtime, int threads) {
  SessionOptions* raw = nullptr;
  runtime.must<slots::CreateSessionOptions>("create options", &raw);
  OptionsPtr options(raw, ReleaseOptions{&runtime});
  runtime.must<slots::SetSessionLogSeverityLevel>("set option", raw, kLogFatal);
  runtime.must<slots::SetIntraOpNumThreads>("set option", raw, threads);
  runtime.must<slots::SetInterOpNumThreads>("set option", raw, 1);
  // A memory plan is made on the first run and takes a block of its own on the second, beside all
  // that the first one took: twice the memory, and no faster.
  runtime.must<slots::DisableMemPattern>("set option", raw);
  const auto set = [&](const char* key, const char* value) {
    runtime.must<slots::AddSessionConfigEntry>("set option", raw, key, value);
  };
  // Without it the u8s8 kernels of x86 processors that lack VNNI saturate, and int8 graphs go
  // wrong.
  set("session.x64quantprecision", "1");
  // Bundles hold ONNX graphs; the runtime's own format, which it would recognise, is not looked
  // into.
  set("session.load_model_format", "ONNX");
  // Idle threads must not burn a phone's battery.
  set("session.intra_op.allow_spinning", "0");
  set("session.inter_op.allow_spinning", "0");
  return options;
}

Port describe(const Runtime& runtime, std::string name, TypeInfo* raw_type) {
  const std::unique_ptr<TypeInfo, ReleaseType> type(raw_type, ReleaseType{&runtime});
  Port port;
  port.name = std::move(name);
  int kind = 0;
  runtime.must<slots::GetOnnxTypeFromTypeInfo>("read type", type.get(), &kind);
  if (kind != kOnnxTypeTensor) return port;  // element_type 0 fits nothing
  const TensorInfo* info = nullptr;          // belongs to `type`
  runtime.must<slots::CastTypeInfoToTensorInfo>("read type", type.get(), &info);
  runtime.must<slots::GetTensorElementType>("read type", info, &port.element_type);
  std::size_t rank = 0;
  runtime.must<slots::GetDimensionsCount>("read shape", info, &rank);
  port.shape.resize(rank);
  runtime.must<slots::GetDimensions>("read shape", info, port.shape.data(), rank);
  return port;
}

// `TypeSlot` and `NameSlot` are those of the inputs, or of the outputs.
template <typename CountSlot, typename TypeSlot, typename NameSlot>
std::vector<Port> read_ports(const Runtime& runtime, SessionHandle* session) {
  std::size_t count = 0;
  runtime.must<CountSlot>("count ports", session, &count);
  std::vector<Port> ports;
  for (std::size_t i = 0; i < count; ++i) {
    char* raw_name = nullptr;
    runtime.must<NameSlot>("read name", session, i, runtime.allocator(), &raw_name);
    std::string name = raw_name;
    runtime.must<slots::AllocatorFree>("free name", runtime.allocator(), raw_name);
    TypeInfo* type = nullptr;
    runtime.must<TypeSlot>("read type", session, i, &type);
    ports.push_back(describe(runtime, std::move(name), type));
  }
  return ports;
}

// The runtime's text up to where a kernel adds its own words: the operator and the node's name,
// which come from the bundle. What follows may quote values, which are the user's.
std::string without_values(const std::string& message) {
  const std::size_t end = message.find(" Status Message:");
  return end == std::string::npos ? "the runtime reported an error" : message.substr(0, end);
}

}  // namespace

Value::Value(const Runtime& runtime, const float* data, const Shape& shape, std::size_t count)
    : Value(runtime, data, count * sizeof(float), shape, kElementFloat) {}

Value::Value(const Runtime& runtime, const std::int64_t* data, const Shape& shape,
             std::size_t count)
    : Value(runtime, data, count * sizeof(std::int64_t), shape, kElementInt64) {}

Value::Value(const Runtime& runtime, const void* data, std::size_t size_bytes, const Shape& shape,
             int element_type)
    : runtime_(&runtime) {
  runtime.must<slots::CreateTensorWithDataAsOrtValue>(
      "wrap tensor", runtime.cpu_memory(), const_cast<void*>(data), size_bytes, shape.data(),
      shape.size(), element_type, &handle_);
}

Value::Value(Value&& other) noexcept
    : runtime_(other.runtime_), handle_(std::exchange(other.handle_, nullptr)) {}

Value& Value::operator=(Value&& other) noexcept {
  std::swap(runtime_, other.runtime_);
  std::swap(handle_, other.handle_);
  return *this;
}

Value::~Value() {
  if (handle_ != nullptr) runtime_->call<slots::ReleaseValue>(handle_);
}

Session::Session(const Runtime& runtime, std::string file, std::string_view graph, int threads,
                 const Accelerator* accelerator)
    : runtime_(&runtime), file_(std::move(file)), handle_(nullptr, Release{&runtime}) {
  const OptionsPtr options = make_options(runtime, threads);
  if (accelerator != nullptr) use_accelerator(runtime, options.get(), *accelerator);
  SessionHandle* handle = nullptr;
  Status* status = runtime.call<slots::CreateSessionFromArray>(
      runtime.env(), static_cast<const void*>(graph.data()), graph.size(),
      static_cast<const SessionOptions*>(options.get()), &handle);
  if (status != nullptr) {
    throw Error(accelerator != nullptr ? ErrorCode::kProvider : ErrorCode::kRuntimeFailed,
                file_ + ": ONNX Runtime " + runtime.version() +
                    " refused the graph: " + runtime.take_message(status));
  }
  handle_.reset(handle);
  if (accelerator != nullptr) nodes_ = check_assignment(runtime, handle, file_, *accelerator);
  inputs_ = read_ports<slots::SessionGetInputCount, slots::SessionGetInputTypeInfo,
                       slots::SessionGetInputName>(runtime, handle);
  outputs_ = read_ports<slots::SessionGetOutputCount, slots::SessionGetOutputTypeInfo,
                        slots::SessionGetOutputName>(runtime, handle);
  for (const Port& port : inputs_) input_names_.push_back(port.name.c_str());
  for (const Port& port : outputs_) output_names_.push_back(port.name.c_str());
}

void Session::run(const std::vector<ValueHandle*>& inputs,
                  std::vector<ValueHandle*>& outputs) const {
  Status* status = runtime_->call<slots::Run>(
      handle_.get(), static_cast<const RunOptions*>(nullptr), input_names_.data(), inputs.data(),
      inputs.size(), output_names_.data(), outputs.size(), outputs.data());
  if (status != nullptr) {
    throw Error(ErrorCode::kRuntimeFailed, file_ + ": ONNX Runtime " + runtime_->version() +
                                               " failed while running the graph: " +
                                               without_values(runtime_->take_message(status)));
  }
}

}  // namespace edge::ort
