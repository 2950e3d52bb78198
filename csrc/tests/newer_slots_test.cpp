// The newer entries of the function table, called: what they give shows that they are the right
// ones. (`ort_slots_test` compares them with a header, where a new enough one is installed.)
#include <memory>
#include <string>

#include "learner.h"
#include "ort/runtime.h"
#include "test.h"

namespace edge::test {
namespace {

constexpr int kCpuDevice = 0;
const char* const kCpu = "CPUExecutionProvider";

const ort::Runtime& runtime() { return ort::Runtime::open(Learner::make_options().library); }

// Whether the library has the table at all; it is optional.
bool has_newer_table() {
  try {
    runtime().newer_table();
    return true;
  } catch (const Error& error) {
    std::fprintf(stderr, "skipped: %s\n", error.what());
    return false;
  }
}

void ok(ort::Status* status) {
  CHECK(status == nullptr);
  if (status != nullptr) std::fprintf(stderr, "%s\n", runtime().take_message(status).c_str());
}

TEST(devices_name_their_provider_and_kind) {
  if (!has_newer_table()) return;
  const ort::Table table = runtime().newer_table();
  const ort::EpDevice* const* devices = nullptr;
  std::size_t count = 0;
  ok(ort::entry<ort::slots::GetEpDevices>(table)(runtime().env(), &devices, &count));
  bool found = false;
  for (std::size_t i = 0; i < count; ++i) {
    if (std::string(ort::entry<ort::slots::EpDevice_EpName>(table)(devices[i])) != kCpu) continue;
    const ort::HardwareDevice* const hardware =
        ort::entry<ort::slots::EpDevice_Device>(table)(devices[i]);
    CHECK(ort::entry<ort::slots::HardwareDevice_Type>(table)(hardware) == kCpuDevice);
    found = true;
  }
  CHECK(found);
}

TEST(a_session_tells_which_provider_runs_which_operators) {
  if (!has_newer_table()) return;
  const ort::Table table = runtime().newer_table();
  ort::SessionOptions* options = nullptr;
  runtime().must<ort::slots::CreateSessionOptions>("create options", &options);
  runtime().must<ort::slots::AddSessionConfigEntry>("set option", options,
                                                    "session.record_ep_graph_assignment_info", "1");
  const std::string graph = Learner::embed_graph().bytes();
  ort::SessionHandle* session = nullptr;
  ok(runtime().call<ort::slots::CreateSessionFromArray>(
      runtime().env(), static_cast<const void*>(graph.data()), graph.size(),
      static_cast<const ort::SessionOptions*>(options), &session));
  const ort::AssignedSubgraph* const* subgraphs = nullptr;
  std::size_t num_subgraphs = 0;
  ok(ort::entry<ort::slots::Session_GetEpGraphAssignmentInfo>(table)(session, &subgraphs,
                                                                     &num_subgraphs));
  CHECK(num_subgraphs == 1);
  const char* provider = nullptr;
  ok(ort::entry<ort::slots::EpAssignedSubgraph_GetEpName>(table)(subgraphs[0], &provider));
  CHECK(std::string(provider) == kCpu);
  const ort::AssignedNode* const* nodes = nullptr;
  std::size_t num_nodes = 0;
  ok(ort::entry<ort::slots::EpAssignedSubgraph_GetNodes>(table)(subgraphs[0], &nodes, &num_nodes));
  CHECK(num_nodes == 1);
  const char* operation = nullptr;
  ok(ort::entry<ort::slots::EpAssignedNode_GetOperatorType>(table)(nodes[0], &operation));
  CHECK(std::string(operation) == "Mul");
  runtime().call<ort::slots::ReleaseSession>(session);
  runtime().call<ort::slots::ReleaseSessionOptions>(options);
}

TEST(a_plug_in_that_is_no_library_is_refused_by_the_entry_that_registers) {
  if (!has_newer_table()) return;
  const ort::Table table = runtime().newer_table();
  ort::Status* const status = ort::entry<ort::slots::RegisterExecutionProviderLibrary>(table)(
      runtime().mutable_env(), "none", "/nowhere/libnone.so");
  CHECK(status != nullptr);
  if (status == nullptr) return;
  CHECK(runtime().take_message(status).find("/nowhere/libnone.so") != std::string::npos);
}

}  // namespace
}  // namespace edge::test
