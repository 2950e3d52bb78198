/* Teaches a model two things in C, and takes the state through its bytes: what an app would store.
 *
 *   personalize_c BUNDLE [LIBONNXRUNTIME] */
#include <edge_sdk.h>
#include <stdio.h>
#include <stdlib.h>

enum { THINGS = 2, EXAMPLES_EACH = 4 };

/* Stands for a sensor; the same recordings as in examples/cpp/main.cpp. */
static void record(float* x, size_t size, int thing, int take) {
  for (size_t i = 0; i < size; ++i) {
    const int k = (int)i;
    const int pattern = (31 * k + 57 * thing * k + 17 * thing) % 64;
    const int own = (13 * k + 29 * take) % 16;
    x[i] = (float)pattern / 32 - 1 + (float)own / 256;
  }
}

/* Everything that has to be given back, whatever happens. */
struct app {
  edge_bundle* bundle;
  edge_engine* engine;
  edge_examples* examples;
  edge_state* taught;
  edge_state* restored;
  uint8_t* bytes;
  float* x;
  float* features;
  float* logits;
};

static void close_app(struct app* app) {
  free(app->logits);
  free(app->features);
  free(app->x);
  edge_bytes_free(app->bytes);
  edge_state_release(app->restored);
  edge_state_release(app->taught);
  edge_examples_release(app->examples);
  edge_engine_destroy(app->engine);
  edge_bundle_close(app->bundle);
}

static edge_status open_app(struct app* app, const char* bundle, const char* library) {
  edge_status status = edge_bundle_open(bundle, &app->bundle);
  if (status != EDGE_OK) return status;
  edge_engine_options options;
  edge_engine_options_init(&options);
  options.runtime_library = library;
  status = edge_engine_create(app->bundle, &options, &app->engine);
  if (status != EDGE_OK) return status;
  app->x = malloc(edge_engine_input_size(app->engine) * sizeof(float));
  app->features = malloc(edge_engine_feature_size(app->engine) * sizeof(float));
  app->logits = malloc(edge_engine_ways(app->engine) * sizeof(float));
  if (app->x == NULL || app->features == NULL || app->logits == NULL) return EDGE_OUT_OF_MEMORY;
  return edge_examples_create(app->engine, &app->examples);
}

static edge_status look(struct app* app, int thing, int take) {
  const size_t size = edge_engine_input_size(app->engine);
  record(app->x, size, thing, take);
  return edge_embed(app->engine, app->x, size, app->features,
                    edge_engine_feature_size(app->engine));
}

static edge_status teach(struct app* app) {
  for (int take = 0; take < EXAMPLES_EACH; ++take) {
    for (int thing = 0; thing < THINGS; ++thing) {
      const int64_t slot = thing;
      edge_status status = look(app, thing, take);
      if (status == EDGE_OK) {
        status = edge_examples_add(app->examples, app->features,
                                   edge_engine_feature_size(app->engine), &slot, 1);
      }
      if (status != EDGE_OK) return status;
    }
  }
  return edge_adapt_examples(app->engine, app->examples, NULL, &app->taught);
}

static edge_status save_and_restore(struct app* app) {
  size_t size = 0;
  const edge_status status = edge_state_save(app->taught, &app->bytes, &size);
  if (status != EDGE_OK) return status;
  printf("the state has %zu bytes\n", size);
  return edge_state_load(app->engine, app->bytes, size, &app->restored);
}

static edge_status predict(struct app* app) {
  const size_t ways = edge_engine_ways(app->engine);
  for (int thing = 0; thing < THINGS; ++thing) {
    edge_status status = look(app, thing, EXAMPLES_EACH + 1);
    if (status == EDGE_OK) {
      status = edge_predict(app->engine, app->restored, app->features,
                            edge_engine_feature_size(app->engine), app->logits, ways);
    }
    if (status != EDGE_OK) return status;
    size_t best = 0;
    for (size_t slot = 1; slot < ways; ++slot) {
      if (app->logits[slot] > app->logits[best]) best = slot;
    }
    printf("thing %d looks like slot %zu, logits", thing, best);
    for (size_t slot = 0; slot < ways; ++slot) printf(" %.9g", (double)app->logits[slot]);
    printf("\n");
  }
  return EDGE_OK;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: personalize_c BUNDLE [LIBONNXRUNTIME]\n");
    return EXIT_FAILURE;
  }
  struct app app = {0};
  edge_status status = open_app(&app, argv[1], argc > 2 ? argv[2] : NULL);
  if (status == EDGE_OK) status = teach(&app);
  if (status == EDGE_OK) status = save_and_restore(&app);
  if (status == EDGE_OK) status = predict(&app);
  if (status != EDGE_OK) {
    fprintf(stderr, "personalize_c: %s: %s\n", edge_status_name(status), edge_last_error());
  }
  close_app(&app);
  return status == EDGE_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
