// Opens libonnxruntime.
#include "ort/runtime.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "edge/error.h"

namespace edge::ort {
namespace {

constexpr const char* kRemedy =
    "; install onnxruntime 1.20 or newer, or pass the path of its libonnxruntime";

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kRuntimeLibrary, message + kRemedy);
}

// The core never prints: errors come back as statuses, so there is nothing to log.
void drop_log(void* /*param*/, int /*severity*/, const char* /*category*/, const char* /*log_id*/,
              const char* /*code_location*/, const char* /*message*/) {}

// Asked before get_api, which prints when it does not know a version.
bool is_recent(const std::string& version, int oldest_minor) {
  char* after_major = nullptr;
  const long major = std::strtol(version.c_str(), &after_major, 10);
  if (after_major == version.c_str() || *after_major != '.') return false;
  const long minor = std::strtol(after_major + 1, nullptr, 10);
  return major > 1 || (major == 1 && minor >= oldest_minor);
}

// Official builds of ONNX Runtime 1.29 and newer keep an identifier and a database of use in the
// user's folder and send it to their maker, from a thread of their own, unless this is set before
// the process's first environment (Privacy.md in the package). An app that has set it decides. An
// app whose threads read the environment meanwhile sets it itself, before they start.
constexpr const char* kTelemetryVariable = "ORT_DISABLE_TELEMETRY";

void refuse_telemetry() { setenv(kTelemetryVariable, "1", /*overwrite=*/0); }

bool is_telemetry_refused() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): as above
  const char* const choice = std::getenv(kTelemetryVariable);
  return choice == nullptr || std::strcmp(choice, "0") != 0;
}

}  // namespace

const Runtime& Runtime::open(const std::string& path) {
  // Leaked on purpose: the runtime must not be torn down while other static objects are.
  static auto* const mutex = new std::mutex();
  static auto* const opened = new std::map<std::string, std::unique_ptr<const Runtime>>();
  const std::scoped_lock lock(*mutex);
  std::unique_ptr<const Runtime>& runtime = (*opened)[path];
  if (runtime == nullptr) runtime.reset(new Runtime(path));
  return *runtime;
}

Runtime::Runtime(const std::string& path) {
  if (path.empty()) refuse("no path of libonnxruntime was given");
  library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* const library = library_;
  if (library == nullptr) {
    const char* reason = dlerror();
    refuse(std::string("cannot open ONNX Runtime: ") + (reason != nullptr ? reason : path));
  }
  void* symbol = dlsym(library, "OrtGetApiBase");
  if (symbol == nullptr) {
    dlclose(library);
    refuse(path + " is not ONNX Runtime: it has no OrtGetApiBase");
  }
  base_ = reinterpret_cast<const ApiBase* (*)()>(symbol)();
  version_ = base_->get_version();
  if (is_recent(version_, kOldestMinorRelease)) table_ = base_->get_api(kApiVersion);
  if (table_ == nullptr) {
    const std::string version = version_;
    dlclose(library);
    refuse("ONNX Runtime " + version + " is too old");
  }
  refuse_telemetry();
  must<slots::CreateEnvWithCustomLogger>("create environment", &drop_log, nullptr, kLogFatal,
                                         "edge", &env_);
  // The host may have made the environment before.
  if (is_telemetry_refused()) must<slots::DisableTelemetryEvents>("disable telemetry", env_);
  must<slots::CreateCpuMemoryInfo>("describe memory", kDeviceAllocator, kDefaultMemory,
                                   &cpu_memory_);
  must<slots::GetAllocatorWithDefaultOptions>("get allocator", &allocator_);
}

Table Runtime::newer_table() const {
  const Table table =
      is_recent(version_, kNewerMinorRelease) ? base_->get_api(kNewerApiVersion) : nullptr;
  if (table == nullptr) {
    throw Error(ErrorCode::kRuntimeLibrary,
                "ONNX Runtime " + version_ +
                    " is too old for execution providers other than cpu; install 1.24 or newer");
  }
  return table;
}

void* Runtime::symbol(const char* name) const noexcept { return dlsym(library_, name); }

std::string Runtime::take_message(Status* status) const {
  std::string message = call<slots::GetErrorMessage>(status);
  call<slots::ReleaseStatus>(status);
  return message;
}

void Runtime::fail(const char* what, Status* status) const {
  throw Error(ErrorCode::kRuntimeFailed,
              "ONNX Runtime " + version_ + ", " + what + ": " + take_message(status));
}

}  // namespace edge::ort
