// The one check of a graph's bytes, made before ONNX Runtime sees them.
#pragma once

#include <string>
#include <string_view>

namespace edge {

/// Walks the protobuf of an ONNX model without allocating for what it promises.
///
/// Accepted is what an exporter for bundles writes: one graph of allowed operators of the standard
/// domain (onnx_ops.h), at most 32768 nodes and as many stored tensors, sub-graphs at most 8 deep;
/// stored tensors hold all their data inside, as many finite numbers as their shape says; no
/// stored, declared or constant target shape has more than 2^26 numbers. Refused are functions,
/// training graphs, sparse tensors, strings, ONNX Runtime's own flatbuffer format, fields that are
/// unknown, and fields that are there twice. Shapes that a graph computes are not known here.
/// @param file   the graph's name in messages
/// @throws Error  kBadBundle "<file>: ..." for all else
void check_graph(const std::string& file, std::string_view graph);

}  // namespace edge
