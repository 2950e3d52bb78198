// One loaded libonnxruntime: its function table, environment and memory description.
#pragma once

#include <string>
#include <utility>

#include "ort/slots.h"

namespace edge::ort {

/// Opened once for each path and kept until the process ends. Safe to use from any thread.
class Runtime {
 public:
  /// @param path  what dlopen takes
  /// @throws Error  kRuntimeLibrary if the library is missing, is not ONNX Runtime, or is too old
  static const Runtime& open(const std::string& path);

  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  Runtime(Runtime&&) = delete;
  Runtime& operator=(Runtime&&) = delete;
  ~Runtime() = default;

  /// As the library names it, for example "1.31.1".
  const std::string& version() const noexcept { return version_; }
  const Env* env() const noexcept { return env_; }
  const MemoryInfo* cpu_memory() const noexcept { return cpu_memory_; }
  Allocator* allocator() const noexcept { return allocator_; }

  /// The table with the entries of EDGE_ORT_NEWER_SLOTS.
  /// @throws Error  kRuntimeLibrary if the library is too old to have it
  Table newer_table() const;

  /// An environment that execution providers may be registered with.
  Env* mutable_env() const noexcept { return env_; }

  /// A function that the library exports besides OrtGetApiBase; null if it does not.
  void* symbol(const char* name) const noexcept;

  /// Calls an entry that returns no status.
  template <typename Slot, typename... Args>
  auto call(Args... args) const {
    return entry<Slot>(table_)(args...);
  }

  /// Calls an entry that returns a status.
  /// @throws Error  kRuntimeFailed, "<what>: <the runtime's message>"
  template <typename Slot, typename... Args>
  void must(const char* what, Args... args) const {
    Status* status = entry<Slot>(table_)(args...);
    if (status != nullptr) fail(what, status);
  }

  /// The message of a failed status, which it releases.
  std::string take_message(Status* status) const;

 private:
  explicit Runtime(const std::string& path);
  [[noreturn]] void fail(const char* what, Status* status) const;

  void* library_ = nullptr;
  const ApiBase* base_ = nullptr;
  std::string version_;
  Table table_ = nullptr;
  Env* env_ = nullptr;
  MemoryInfo* cpu_memory_ = nullptr;
  Allocator* allocator_ = nullptr;
};

}  // namespace edge::ort
