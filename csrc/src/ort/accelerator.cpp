// Execution providers: those of plug-in libraries, and those that libonnxruntime was built with.
#include "ort/accelerator.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "edge/error.h"

namespace edge::ort {
namespace {

[[noreturn]] void refuse(const Accelerator& accelerator, const std::string& what) {
  throw Error(ErrorCode::kProvider, accelerator.name + ": " + what);
}

void check(const Runtime& runtime, const Accelerator& accelerator, const char* what,
           Status* status) {
  if (status == nullptr) return;
  refuse(accelerator,
         "ONNX Runtime " + runtime.version() + ", " + what + ": " + runtime.take_message(status));
}

// The provider's options as the two arrays that the runtime takes.
struct OptionArrays {
  explicit OptionArrays(const Accelerator& accelerator) {
    for (const auto& [key, value] : accelerator.options) {
      keys.push_back(key.c_str());
      values.push_back(value.c_str());
    }
  }
  std::vector<const char*> keys;
  std::vector<const char*> values;
};

// A plug-in is registered with a runtime once, under its provider's name, and stays for good: the
// runtime lives as long as the process.
void register_plugin(const Runtime& runtime, Table table, const Accelerator& accelerator) {
  static auto* const mutex = new std::mutex();
  static auto* const registered = new std::set<std::pair<const Runtime*, std::string>>();
  const std::scoped_lock lock(*mutex);
  if (registered->count({&runtime, accelerator.plugin}) != 0) return;
  check(runtime, accelerator, "register the plug-in",
        entry<slots::RegisterExecutionProviderLibrary>(table)(
            runtime.mutable_env(), accelerator.provider.c_str(), accelerator.plugin.c_str()));
  registered->insert({&runtime, accelerator.plugin});
}

// The device to run on: an NPU where the provider has found one, else its first. The HTP emulator
// presents itself as the processor that it runs on.
const EpDevice* choose_device(const Runtime& runtime, Table table, const Accelerator& accelerator) {
  const EpDevice* const* devices = nullptr;
  std::size_t count = 0;
  check(runtime, accelerator, "list devices",
        entry<slots::GetEpDevices>(table)(runtime.env(), &devices, &count));
  const EpDevice* chosen = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    if (entry<slots::EpDevice_EpName>(table)(devices[i]) != accelerator.provider) continue;
    const HardwareDevice* const hardware = entry<slots::EpDevice_Device>(table)(devices[i]);
    if (entry<slots::HardwareDevice_Type>(table)(hardware) == kNpuDevice) return devices[i];
    if (chosen == nullptr) chosen = devices[i];
  }
  if (chosen == nullptr) refuse(accelerator, "its plug-in finds no device here that it can use");
  return chosen;
}

void append_plugin(const Runtime& runtime, Table table, SessionOptions* options,
                   const Accelerator& accelerator) {
  register_plugin(runtime, table, accelerator);
  const EpDevice* const device = choose_device(runtime, table, accelerator);
  const OptionArrays arrays(accelerator);
  check(runtime, accelerator, "add the provider",
        entry<slots::SessionOptionsAppendExecutionProvider_V2>(table)(
            options, runtime.mutable_env(), &device, 1, arrays.keys.data(), arrays.values.data(),
            arrays.keys.size()));
}

std::vector<std::string> built_in_providers(const Runtime& runtime) {
  char** names = nullptr;
  int count = 0;
  runtime.must<slots::GetAvailableProviders>("list providers", &names, &count);
  std::vector<std::string> found(names, names + count);
  runtime.must<slots::ReleaseAvailableProviders>("free list", names, count);
  return found;
}

void append_built_in(const Runtime& runtime, SessionOptions* options,
                     const Accelerator& accelerator) {
  const std::vector<std::string> found = built_in_providers(runtime);
  if (std::find(found.begin(), found.end(), accelerator.provider) == found.end()) {
    std::string list;
    for (const std::string& name : found) list += (list.empty() ? "" : ", ") + name;
    refuse(accelerator, "this ONNX Runtime " + runtime.version() + " was built without " +
                            accelerator.provider + "; it has " + list);
  }
  if (accelerator.provider == "NnapiExecutionProvider") {  // has an entry point of its own
    using AppendNnapi = Status* (*)(SessionOptions*, std::uint32_t);
    constexpr std::uint32_t kNoFlags = 0;
    void* const append = runtime.symbol("OrtSessionOptionsAppendExecutionProvider_Nnapi");
    if (append == nullptr) refuse(accelerator, "the library does not export its entry point");
    check(runtime, accelerator, "add the provider",
          reinterpret_cast<AppendNnapi>(append)(options, kNoFlags));
    return;
  }
  const OptionArrays arrays(accelerator);
  check(runtime, accelerator, "add the provider",
        runtime.call<slots::SessionOptionsAppendExecutionProvider>(
            options, accelerator.provider.c_str(), arrays.keys.data(), arrays.values.data(),
            arrays.keys.size()));
}

}  // namespace

void use_accelerator(const Runtime& runtime, SessionOptions* options,
                     const Accelerator& accelerator) {
  const Table table = runtime.newer_table();
  const auto set = [&](const char* key, const char* value) {
    runtime.must<slots::AddSessionConfigEntry>("set option", options, key, value);
  };
  // Without it, what a provider does not take (a symbolic batch, say) silently runs on the CPU.
  set("session.disable_cpu_ep_fallback", accelerator.share_with_cpu ? "0" : "1");
  set("session.record_ep_graph_assignment_info", "1");
  if (accelerator.batch > 0) {
    runtime.must<slots::AddFreeDimensionOverrideByName>("fix the batch", options, "n",
                                                        accelerator.batch);
  }
  if (!accelerator.compile_to.empty()) {
    set("ep.context_enable", "1");
    set("ep.context_embed_mode", "1");  // the binary goes into the ONNX file
    set("ep.context_file_path", accelerator.compile_to.c_str());
  }
  if (accelerator.plugin.empty()) {
    append_built_in(runtime, options, accelerator);
  } else {
    append_plugin(runtime, table, options, accelerator);
  }
}

std::vector<NodeGroup> check_assignment(const Runtime& runtime, const SessionHandle* session,
                                        const std::string& file, const Accelerator& accelerator) {
  const Table table = runtime.newer_table();
  const auto ok = [&](Status* status) { check(runtime, accelerator, "read assignment", status); };
  const AssignedSubgraph* const* subgraphs = nullptr;
  std::size_t num_subgraphs = 0;
  ok(entry<slots::Session_GetEpGraphAssignmentInfo>(table)(session, &subgraphs, &num_subgraphs));
  std::map<std::pair<std::string, std::string>, std::int64_t> counts;
  for (std::size_t i = 0; i < num_subgraphs; ++i) {
    const char* provider = nullptr;
    ok(entry<slots::EpAssignedSubgraph_GetEpName>(table)(subgraphs[i], &provider));
    const AssignedNode* const* nodes = nullptr;
    std::size_t num_nodes = 0;
    ok(entry<slots::EpAssignedSubgraph_GetNodes>(table)(subgraphs[i], &nodes, &num_nodes));
    for (std::size_t j = 0; j < num_nodes; ++j) {
      const char* operation = nullptr;
      ok(entry<slots::EpAssignedNode_GetOperatorType>(table)(nodes[j], &operation));
      ++counts[{provider, operation}];
    }
  }
  std::vector<NodeGroup> groups;
  std::int64_t taken = 0;
  std::string others;
  for (const auto& [key, count] : counts) {
    groups.push_back({key.first, key.second, count});
    if (key.first == accelerator.provider) {
      taken += count;
    } else {
      others += (others.empty() ? "" : ", ") + key.second + " (" + key.first + ")";
    }
  }
  if (taken == 0) refuse(accelerator, "it took no node of " + file);
  if (!others.empty() && !accelerator.share_with_cpu) {
    refuse(accelerator, "it left nodes of " + file + " to others: " + others);
  }
  return groups;
}

}  // namespace edge::ort
