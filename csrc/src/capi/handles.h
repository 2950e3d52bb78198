// What the opaque handles of edge_sdk.h hold.
#pragma once

#include <cstddef>
#include <string>

#include "edge/bundle.h"
#include "edge/engine.h"
#include "edge/example_set.h"
#include "edge_sdk.h"

struct edge_bundle {
  edge::Bundle bundle;
};

struct edge_engine {
  edge::Engine engine;
  edge::ExampleBinding binding;
  edge::Shape input_shape;
  std::size_t input_size;
  std::size_t feature_size;
  std::size_t steps;
};

struct edge_state {
  edge::StatePtr state;
};

struct edge_examples {
  edge::ExampleSet set;
};
