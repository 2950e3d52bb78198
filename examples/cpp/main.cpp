// Teaches a model two things, stores what was taught, and knows them again after a restart.
//
//   personalize teach   BUNDLE FOLDER [LIBONNXRUNTIME]    teach, save into FOLDER, predict
//   personalize predict BUNDLE FOLDER [LIBONNXRUNTIME]    restore from FOLDER, predict
//   personalize forget  BUNDLE FOLDER [LIBONNXRUNTIME]    forget the second thing, save, predict
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <edge_sdk.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Bytes = std::vector<std::uint8_t>;
using Path = std::filesystem::path;

constexpr int kThings = 2;
constexpr int kExamplesEach = 4;

// Stands for a sensor: the `take`-th recording of a thing. Each thing has a pattern, each recording
// a little of its own; the numbers are exact in binary, so they are the same everywhere.
std::vector<float> record(std::size_t size, int thing, int take) {
  std::vector<float> x(size);
  for (std::size_t i = 0; i < size; ++i) {
    const int k = static_cast<int>(i);
    const int pattern = (31 * k + 57 * thing * k + 17 * thing) % 64;
    const int own = (13 * k + 29 * take) % 16;
    x[i] = static_cast<float>(pattern) / 32 - 1 + static_cast<float>(own) / 256;
  }
  return x;
}

// The old file stays whole until the new one is.
void write_file(const Path& path, const Bytes& bytes) {
  const Path draft = path.string() + ".new";
  std::ofstream file(draft, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + draft.string());
  std::filesystem::rename(draft, path);
}

Bytes read_file(const Path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string() + "; teach first");
  return {std::istreambuf_iterator<char>(file), {}};
}

// Examples are what matters: the state is always computed from them. Storing it too saves the
// computation at the next start.
void save(const Path& folder, const edge_sdk::Examples& examples, const edge_sdk::State& state) {
  write_file(folder / "examples.bin", examples.save());
  write_file(folder / "state.bin", state.save());
}

edge_sdk::State teach(const edge_sdk::Engine& engine, const Path& folder) {
  edge_sdk::Examples examples = engine.make_examples();
  for (int take = 0; take < kExamplesEach; ++take) {
    for (int thing = 0; thing < kThings; ++thing) {
      examples.add(engine.embed(record(engine.input_size(), thing, take)), {thing});
    }
  }
  edge_sdk::State state = engine.adapt(examples);
  save(folder, examples, state);
  return state;
}

edge_sdk::State forget(const edge_sdk::Engine& engine, const Path& folder) {
  edge_sdk::Examples examples = engine.load_examples(read_file(folder / "examples.bin"));
  const std::size_t removed = examples.remove_slot(1);
  std::printf("forgot %zu examples\n", removed);
  edge_sdk::State state = engine.adapt(examples);
  save(folder, examples, state);
  return state;
}

void predict(const edge_sdk::Engine& engine, const edge_sdk::State& state) {
  for (int thing = 0; thing < kThings; ++thing) {
    const std::vector<float> x = record(engine.input_size(), thing, kExamplesEach + 1);
    const std::vector<float> logits = engine.predict(state, engine.embed(x));
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    std::printf("thing %d looks like slot %d, logits", thing, static_cast<int>(best));
    for (const float logit : logits) std::printf(" %.9g", static_cast<double>(logit));
    std::printf("\n");
  }
}

int run(const std::string& verb, const std::string& path, const Path& folder,
        const std::string& library) {
  const edge_sdk::Bundle bundle(path);
  const edge_sdk::Engine engine(bundle, library);
  std::printf("bundle %s version %lld, ONNX Runtime %s\n", bundle.name().c_str(),
              static_cast<long long>(bundle.version()), engine.runtime_version().c_str());
  if (verb == "teach") {
    predict(engine, teach(engine, folder));
  } else if (verb == "forget") {
    predict(engine, forget(engine, folder));
  } else if (verb == "predict") {
    predict(engine, engine.load_state(read_file(folder / "state.bin")));
  } else {
    throw std::runtime_error("the first argument is teach, predict or forget");
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 4)
      throw std::runtime_error("usage: personalize VERB BUNDLE FOLDER [LIBONNXRUNTIME]");
    return run(argv[1], argv[2], argv[3], argc > 4 ? argv[4] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "personalize: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
