// The entries of ONNX Runtime's C function table that this library uses.
//
// The runtime's wheel ships no headers. Its API is one table of function pointers that only ever
// grows at its end, so an entry's index is fixed for good; those of EDGE_ORT_SLOTS are older than
// kApiVersion.
// tests/ort_slots_test.cpp compares every index with the official header where that is installed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edge::ort {

/// The API version asked for, and the first release that has it.
inline constexpr std::uint32_t kApiVersion = 20;
inline constexpr int kOldestMinorRelease = 20;  // of 1.x

/// The same for the entries of EDGE_ORT_NEWER_SLOTS, which only execution providers need.
inline constexpr std::uint32_t kNewerApiVersion = 24;
inline constexpr int kNewerMinorRelease = 24;  // of 1.x

// Opaque types of the runtime.
struct Allocator;
struct AssignedNode;
struct AssignedSubgraph;
struct Env;
struct EpDevice;
struct HardwareDevice;
struct MemoryInfo;
struct RunOptions;
struct SessionHandle;
struct SessionOptions;
struct Status;
struct TensorInfo;
struct TypeInfo;
struct ValueHandle;

// Values of the runtime's enumerations that are used.
inline constexpr int kLogFatal = 4;
inline constexpr int kOnnxTypeTensor = 1;
inline constexpr int kElementFloat = 1;
inline constexpr int kElementInt64 = 7;
inline constexpr int kDeviceAllocator = 0;
inline constexpr int kDefaultMemory = 0;
inline constexpr int kNpuDevice = 2;

using LogFunction = void (*)(void* param, int severity, const char* category, const char* log_id,
                             const char* code_location, const char* message);

/// The table: an array of function pointers.
using Table = void (*const*)();

/// What the library's one exported function, OrtGetApiBase, returns.
struct ApiBase {
  Table (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

// SLOT(index, name, result, arguments)
#define EDGE_ORT_SLOTS(SLOT)                                                                       \
  SLOT(2, GetErrorMessage, const char*, (const Status*))                                           \
  SLOT(4, CreateEnvWithCustomLogger, Status*, (LogFunction, void*, int, const char*, Env**))       \
  SLOT(6, DisableTelemetryEvents, Status*, (const Env*))                                           \
  SLOT(8, CreateSessionFromArray, Status*,                                                         \
       (const Env*, const void*, std::size_t, const SessionOptions*, SessionHandle**))             \
  SLOT(9, Run, Status*,                                                                            \
       (SessionHandle*, const RunOptions*, const char* const*, const ValueHandle* const*,          \
        std::size_t, const char* const*, std::size_t, ValueHandle**))                              \
  SLOT(10, CreateSessionOptions, Status*, (SessionOptions**))                                      \
  SLOT(17, DisableMemPattern, Status*, (SessionOptions*))                                          \
  SLOT(22, SetSessionLogSeverityLevel, Status*, (SessionOptions*, int))                            \
  SLOT(24, SetIntraOpNumThreads, Status*, (SessionOptions*, int))                                  \
  SLOT(25, SetInterOpNumThreads, Status*, (SessionOptions*, int))                                  \
  SLOT(30, SessionGetInputCount, Status*, (const SessionHandle*, std::size_t*))                    \
  SLOT(31, SessionGetOutputCount, Status*, (const SessionHandle*, std::size_t*))                   \
  SLOT(33, SessionGetInputTypeInfo, Status*, (const SessionHandle*, std::size_t, TypeInfo**))      \
  SLOT(34, SessionGetOutputTypeInfo, Status*, (const SessionHandle*, std::size_t, TypeInfo**))     \
  SLOT(36, SessionGetInputName, Status*, (const SessionHandle*, std::size_t, Allocator*, char**))  \
  SLOT(37, SessionGetOutputName, Status*, (const SessionHandle*, std::size_t, Allocator*, char**)) \
  SLOT(49, CreateTensorWithDataAsOrtValue, Status*,                                                \
       (const MemoryInfo*, void*, std::size_t, const std::int64_t*, std::size_t, int,              \
        ValueHandle**))                                                                            \
  SLOT(55, CastTypeInfoToTensorInfo, Status*, (const TypeInfo*, const TensorInfo**))               \
  SLOT(56, GetOnnxTypeFromTypeInfo, Status*, (const TypeInfo*, int*))                              \
  SLOT(60, GetTensorElementType, Status*, (const TensorInfo*, int*))                               \
  SLOT(61, GetDimensionsCount, Status*, (const TensorInfo*, std::size_t*))                         \
  SLOT(62, GetDimensions, Status*, (const TensorInfo*, std::int64_t*, std::size_t))                \
  SLOT(69, CreateCpuMemoryInfo, Status*, (int, int, MemoryInfo**))                                 \
  SLOT(76, AllocatorFree, Status*, (Allocator*, void*))                                            \
  SLOT(78, GetAllocatorWithDefaultOptions, Status*, (Allocator**))                                 \
  SLOT(93, ReleaseStatus, void, (Status*))                                                         \
  SLOT(95, ReleaseSession, void, (SessionHandle*))                                                 \
  SLOT(96, ReleaseValue, void, (ValueHandle*))                                                     \
  SLOT(98, ReleaseTypeInfo, void, (TypeInfo*))                                                     \
  SLOT(100, ReleaseSessionOptions, void, (SessionOptions*))                                        \
  SLOT(124, AddFreeDimensionOverrideByName, Status*, (SessionOptions*, const char*, std::int64_t)) \
  SLOT(125, GetAvailableProviders, Status*, (char***, int*))                                       \
  SLOT(126, ReleaseAvailableProviders, Status*, (char**, int))                                     \
  SLOT(130, AddSessionConfigEntry, Status*, (SessionOptions*, const char*, const char*))           \
  SLOT(216, SessionOptionsAppendExecutionProvider, Status*,                                        \
       (SessionOptions*, const char*, const char* const*, const char* const*, std::size_t))

// Entries of kNewerApiVersion: they are in the table only where that version was asked for.
#define EDGE_ORT_NEWER_SLOTS(SLOT)                                                          \
  SLOT(301, RegisterExecutionProviderLibrary, Status*, (Env*, const char*, const char*))    \
  SLOT(303, GetEpDevices, Status*, (const Env*, const EpDevice* const**, std::size_t*))     \
  SLOT(304, SessionOptionsAppendExecutionProvider_V2, Status*,                              \
       (SessionOptions*, Env*, const EpDevice* const*, std::size_t, const char* const*,     \
        const char* const*, std::size_t))                                                   \
  SLOT(307, HardwareDevice_Type, int, (const HardwareDevice*))                              \
  SLOT(312, EpDevice_EpName, const char*, (const EpDevice*))                                \
  SLOT(316, EpDevice_Device, const HardwareDevice*, (const EpDevice*))                      \
  SLOT(407, Session_GetEpGraphAssignmentInfo, Status*,                                      \
       (const SessionHandle*, const AssignedSubgraph* const**, std::size_t*))               \
  SLOT(408, EpAssignedSubgraph_GetEpName, Status*, (const AssignedSubgraph*, const char**)) \
  SLOT(409, EpAssignedSubgraph_GetNodes, Status*,                                           \
       (const AssignedSubgraph*, const AssignedNode* const**, std::size_t*))                \
  SLOT(412, EpAssignedNode_GetOperatorType, Status*, (const AssignedNode*, const char**))

/// One struct for each entry: its index and its type.
namespace slots {
#define EDGE_ORT_DECLARE(index, name, result, arguments) \
  struct name {                                          \
    static constexpr std::size_t kIndex = index;         \
    using Function = result(*) arguments;                \
  };
EDGE_ORT_SLOTS(EDGE_ORT_DECLARE)
EDGE_ORT_NEWER_SLOTS(EDGE_ORT_DECLARE)
#undef EDGE_ORT_DECLARE
}  // namespace slots

/// The typed entry of a table: `entry<slots::Run>(table)(session, ...)`.
template <typename Slot>
typename Slot::Function entry(Table table) {
  return reinterpret_cast<typename Slot::Function>(table[Slot::kIndex]);
}

}  // namespace edge::ort
