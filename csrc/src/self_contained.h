// Refuses graphs that would make ONNX Runtime read other files.
#pragma once

#include <string>
#include <string_view>

namespace edge {

/// An ONNX tensor may name a file that holds its data, and the runtime would then read it, relative
/// to the working directory. A bundle's graphs hold all their data.
/// @param file   the graph's name in messages
/// @throws Error  kBadBundle if a tensor's data lies outside, or the bytes are not a protobuf
/// message
void check_self_contained(const std::string& file, std::string_view graph);

}  // namespace edge
