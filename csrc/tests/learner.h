// The learner of the engine's tests: a softmax head `w` `[dim, ways]` and `counts` `[ways]`, one
// SGD step.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "edge/engine.h"
#include "onnx_writer.h"

namespace edge::test {

inline constexpr std::int64_t kDim = 4;
inline constexpr std::int64_t kWays = 3;
inline constexpr float kRate = 0.5F;

/// Owns the graphs' bytes; change one before `graphs()` to make a bad bundle.
struct Learner {
  std::string init = init_graph(0.0F).bytes();
  std::string embed;  ///< empty: absent
  std::string adapt = adapt_graph().bytes();
  std::string predict = predict_graph().bytes();
  EngineSpec spec = make_spec();
  RuntimeOptions options = make_options();

  Engine engine() const {
    Graphs graphs;
    graphs.init = init;
    if (!embed.empty()) graphs.embed = embed;
    graphs.adapt = adapt;
    graphs.predict = predict;
    return Engine(graphs, spec, options);
  }

  static EngineSpec make_spec() {
    EngineSpec spec;
    spec.state = {{"w", {kDim, kWays}}, {"counts", {kWays}}};
    spec.ways = kWays;
    spec.input_shape = {kDim};
    spec.feature_shape = {kDim};
    spec.steps = 5;
    return spec;
  }

  static RuntimeOptions make_options() {
    RuntimeOptions options;
    const char* library = std::getenv("EDGE_TEST_ONNXRUNTIME");
    options.library = library != nullptr ? library : "";
    return options;
  }

  static GraphWriter init_graph(float weight) {
    GraphWriter graph;
    graph.constant("w0", {kDim, kWays}, std::vector<float>(kDim * kWays, weight));
    graph.constant("counts0", {kWays}, std::vector<float>(kWays, 0.0F));
    graph.node("Identity", {"w0"}, "state.w").node("Identity", {"counts0"}, "state.counts");
    return graph.output("state.w", {kDim, kWays}).output("state.counts", {kWays});
  }

  /// Features are the input times two.
  static GraphWriter embed_graph() {
    GraphWriter graph;
    graph.input("x", {-1, kDim}).output("features", {-1, kDim});
    return graph.constant("two", {}, std::vector<float>{2.0F})
        .node("Mul", {"x", "two"}, "features");
  }

  static GraphWriter predict_graph() {
    GraphWriter graph;  // does not read state.counts
    graph.input("state.w", {kDim, kWays}).input("features", {-1, kDim});
    graph.node("MatMul", {"features", "state.w"}, "logits");
    return graph.output("logits", {-1, kWays});
  }

  /// The nodes of one SGD step, without its outputs declared.
  static GraphWriter adapt_nodes() {
    GraphWriter graph;
    graph.input("weights", {-1}).input("state.counts", {kWays});  // in no special order
    graph.input("features", {-1, kDim}).input("labels", {-1}, GraphWriter::kInt64);
    graph.input("state.w", {kDim, kWays});
    graph.constant("one", {1}, std::vector<std::int64_t>{1});
    graph.constant("zero", {1}, std::vector<std::int64_t>{0});
    graph.constant("slots", {kWays}, std::vector<std::int64_t>{0, 1, 2});
    graph.constant("rate", {}, std::vector<float>{kRate});
    graph.node("MatMul", {"features", "state.w"}, "z");
    graph.node("LogSoftmax", {"z"}, "log_p", {{"axis", -1}}).node("Exp", {"log_p"}, "p");
    graph.node("Unsqueeze", {"labels", "one"}, "label_column");
    graph.node("Equal", {"label_column", "slots"}, "is_label");
    graph.node("Cast", {"is_label"}, "y", {{"to", 1}});
    graph.node("Unsqueeze", {"weights", "one"}, "weight_column");
    graph.node("ReduceSum", {"weights"}, "total", {{"keepdims", 0}});
    graph.node("Mul", {"y", "weight_column"}, "weighted_y");
    graph.node("Mul", {"weighted_y", "log_p"}, "likelihood");
    graph.node("ReduceSum", {"likelihood"}, "sum", {{"keepdims", 0}});
    graph.node("Div", {"sum", "total"}, "mean").node("Neg", {"mean"}, "loss");
    graph.node("Sub", {"p", "y"}, "error").node("Mul", {"error", "weight_column"}, "weighted");
    graph.node("Div", {"weighted", "total"}, "g").node("Transpose", {"features"}, "features_t");
    graph.node("MatMul", {"features_t", "g"}, "gradient").node("Mul", {"gradient", "rate"}, "step");
    graph.node("Sub", {"state.w", "step"}, "next.w");
    graph.node("ReduceSum", {"weighted_y", "zero"}, "seen", {{"keepdims", 0}});
    return graph.node("Max", {"state.counts", "seen"}, "next.counts");
  }

  static GraphWriter adapt_graph() {
    GraphWriter graph = adapt_nodes();
    return graph.output("loss", {}).output("next.counts", {kWays}).output("next.w", {kDim, kWays});
  }
};

/// A support set, and the same steps in double precision.
struct Support {
  std::vector<float> features;
  std::vector<std::int64_t> labels;
  std::vector<float> weights;

  std::int64_t n() const { return static_cast<std::int64_t>(labels.size()); }
  FloatView features_view() const { return {features.data(), {n(), kDim}}; }
  LabelView labels_view() const { return {labels.data(), {n()}}; }
  FloatView weights_view() const { return {weights.data(), {n()}}; }

  static Support example() {
    Support support;
    for (int i = 0; i < 7 * kDim; ++i) {
      support.features.push_back(static_cast<float>(std::sin(1.0 + 1.7 * i)));
    }
    support.labels = {0, 1, 2, 1, 1, 0, 2};
    support.weights = {1, 0.5F, 2, 1, 0, 1, 1};
    return support;
  }

  struct Reference {
    std::vector<double> w = std::vector<double>(kDim * kWays, 0.0);
    std::vector<double> losses;
  };

  Reference run(int steps) const {
    Reference result;
    double total = 0;
    for (const float weight : weights) total += static_cast<double>(weight);
    for (int step = 0; step < steps; ++step) {
      std::vector<double> gradient(kDim * kWays, 0.0);
      double loss = 0;
      for (std::size_t row = 0; row < labels.size(); ++row) {
        const auto feature = [&](std::size_t d) {
          return static_cast<double>(features[row * kDim + d]);
        };
        double logits[kWays] = {};
        double sum = 0;
        for (std::size_t way = 0; way < kWays; ++way) {
          for (std::size_t d = 0; d < kDim; ++d)
            logits[way] += feature(d) * result.w[d * kWays + way];
          sum += std::exp(logits[way]);
        }
        const double weight = static_cast<double>(weights[row]) / total;
        for (std::size_t way = 0; way < kWays; ++way) {
          const double p = std::exp(logits[way]) / sum;
          const double y = static_cast<std::int64_t>(way) == labels[row] ? 1.0 : 0.0;
          loss -= weight * y * std::log(p);
          for (std::size_t d = 0; d < kDim; ++d) {
            gradient[d * kWays + way] += weight * (p - y) * feature(d);
          }
        }
      }
      result.losses.push_back(loss);
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        result.w[i] -= static_cast<double>(kRate) * gradient[i];
      }
    }
    return result;
  }
};

}  // namespace edge::test
