// The C interface of Edge SDK: teach a bundle's model from C, C++, Swift, or Kotlin through JNI.
//
// Every function that can fail returns an edge_status and gives its result through its last
// parameter, which it leaves untouched on failure; edge_last_error() then says what was wrong.
// No exception crosses this boundary. Nothing is printed. Handles are made by the library and given
// back to the function named with their type; giving back NULL does nothing.
//
// Arrays are dense, row-major and the caller's: they are only read or written during the call. Each
// comes with its number of elements, and a number that does not fit the bundle is refused.
//
// Threads: functions on a `const` handle may be called from any number of threads at once. A handle
// that is not `const` (edge_examples while it is changed, and every handle while it is given back)
// belongs to one thread at a time. Errors are kept apart for each thread.
//
// docs/EMBEDDING.md shows the whole loop, the byte formats, and how to link.
#ifndef EDGE_SDK_H
#define EDGE_SDK_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EDGE_API __attribute__((visibility("default")))
#else
#define EDGE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- status ---------------------------------------------------------------------------------- */

/* Numbers never change their meaning; later versions may add some. */
typedef enum edge_status {
  EDGE_OK = 0,
  EDGE_INVALID_OPTION = 1,   /* an option is outside what is documented */
  EDGE_SHAPE_MISMATCH = 2,   /* an array has not the number of elements that the bundle asks for */
  EDGE_DTYPE_MISMATCH = 3,   /* not given by this interface: C arrays have their type */
  EDGE_NON_FINITE = 4,       /* an array holds NaN or infinity */
  EDGE_EMPTY_SUPPORT = 5,    /* nothing to adapt on, or all weights are zero */
  EDGE_LABEL_RANGE = 6,      /* a slot is outside 0..ways-1 */
  EDGE_DIVERGED = 7,         /* a loss or the new state is not finite; there is no new state */
  EDGE_BAD_BUNDLE = 8,       /* damaged, incomplete, or not of a format this version reads */
  EDGE_BAD_STATE = 9,        /* stored bytes are damaged, or belong to another bundle */
  EDGE_RUNTIME_LIBRARY = 10, /* libonnxruntime is missing, or too old */
  EDGE_RUNTIME_FAILED = 11,  /* ONNX Runtime refused a graph, or failed while running it */
  EDGE_PROVIDER = 12,        /* not given by this interface: its graphs run on the CPU */
  EDGE_NULL_ARGUMENT = 100,  /* a pointer that must not be NULL is */
  EDGE_OUT_OF_MEMORY = 101,
  EDGE_INTERNAL = 102,       /* a defect of this library; please report it */
  EDGE_BAD_SIGNATURE = 103,  /* a bundle is not signed, or not by a trusted key */
  EDGE_EXPIRED_BUNDLE = 104, /* its last day has passed */
  EDGE_OLDER_BUNDLE = 105    /* a newer version, or another bundle of this one, was accepted */
} edge_status;

/* The status in words that never change, for example "shape_mismatch"; never NULL. Any thread. */
EDGE_API const char* edge_status_name(edge_status status);

/* What was wrong in the last call of the calling thread that failed, in at most 1023 bytes of
 * UTF-8; "" before the first. Never holds an example, a label or a feature. Never NULL; valid until
 * the thread's next call that fails. */
EDGE_API const char* edge_last_error(void);

/* The version of the library, for example "0.1.0"; a constant. Any thread. */
EDGE_API const char* edge_version(void);

/* --- bundle: a verified folder, whole in memory ------------------------------------------------
 */

typedef struct edge_bundle edge_bundle; /* edge_bundle_close */

/* Reads and verifies the bundle folder at `path` (UTF-8 or whatever the file system takes).
 * What was verified is what is loaded, whatever happens to the folder later. Any thread.
 * Fails with EDGE_BAD_BUNDLE, naming the file. */
EDGE_API edge_status edge_bundle_open(const char* path, edge_bundle** bundle);
EDGE_API void edge_bundle_close(edge_bundle* bundle);

/* Whose bundles are opened. Fill with edge_trust_init, then set at least `keys` and `num_keys`. */
typedef struct edge_trust {
  size_t struct_size;     /* set by edge_trust_init */
  const uint8_t* keys;    /* [num_keys, 32], Ed25519 public keys (RFC 8032); any one is enough */
  size_t num_keys;        /* at least 1 */
  const char* today;      /* YYYY-MM-DD, UTC: an expired bundle is refused; NULL: not looked at */
  int64_t newest_version; /* the newest accepted before, which the app keeps; 0: none */
  const char* newest_digest; /* edge_bundle_digest of that one; NULL: not compared */
} edge_trust;

EDGE_API void edge_trust_init(edge_trust* trust);

/* edge_bundle_open for a bundle that comes over a network: manifest.sig must be a signature by one
 * of the keys, which is checked before anything is parsed. Fails with EDGE_BAD_SIGNATURE,
 * EDGE_EXPIRED_BUNDLE or EDGE_OLDER_BUNDLE, too, and with EDGE_INVALID_OPTION for what is no key.
 * To be safe from older bundles across restarts, the app stores the version and the digest of each
 * bundle that it accepts (for each name, where it has several), and passes them the next time. */
EDGE_API edge_status edge_bundle_open_trusted(const char* path, const edge_trust* trust,
                                              edge_bundle** bundle);

/* Strings are UTF-8 and live as long as the bundle. NULL or 0 for a NULL bundle. */
EDGE_API const char* edge_bundle_name(const edge_bundle* bundle);
EDGE_API int64_t edge_bundle_version(const edge_bundle* bundle);
/* SHA-256 of manifest.json, 64 hex digits: names the bundle. Keep it beside stored states. */
EDGE_API const char* edge_bundle_digest(const edge_bundle* bundle);
/* What the first slots mean, where the bundle fixes it; often none. A label may hold a zero byte:
 * `size`, if not NULL, gets its length in bytes. NULL for an index out of range. */
EDGE_API size_t edge_bundle_num_labels(const edge_bundle* bundle);
EDGE_API const char* edge_bundle_label(const edge_bundle* bundle, size_t index, size_t* size);

/* --- engine: the bundle's graphs, loaded -------------------------------------------------------
 */

typedef struct edge_engine edge_engine; /* edge_engine_destroy */

/* Fill with edge_engine_options_init, then change what should differ. */
typedef struct edge_engine_options {
  size_t struct_size; /* set by edge_engine_options_init */
  /* Path of libonnxruntime (1.20 or newer). NULL: the environment variable EDGE_SDK_ONNXRUNTIME, or
   * else what the dynamic linker finds as libonnxruntime.so.1 or libonnxruntime.so. */
  const char* runtime_library;
  int32_t threads; /* of one call, 1 to 256; default 1 */
  /* Execution providers, first choice first; NULL: the CPU. */
  const char* const* providers;
  size_t num_providers;
} edge_engine_options;

EDGE_API void edge_engine_options_init(edge_engine_options* options);

/* Loads the graphs of `bundle`, which may be closed afterwards. `options` may be NULL. Any thread.
 * An engine never changes. */
EDGE_API edge_status edge_engine_create(const edge_bundle* bundle,
                                        const edge_engine_options* options, edge_engine** engine);
EDGE_API void edge_engine_destroy(edge_engine* engine);

/* What the bundle fixes; 0 or NULL for a NULL engine. */
EDGE_API size_t edge_engine_input_size(const edge_engine* engine);   /* floats of one input */
EDGE_API size_t edge_engine_feature_size(const edge_engine* engine); /* floats of one example */
EDGE_API size_t edge_engine_ways(const edge_engine* engine);         /* label slots */
/* Numbers of one prediction: the ways, or those of one target where the bundle learns values. */
EDGE_API size_t edge_engine_outputs(const edge_engine* engine);
EDGE_API size_t edge_engine_steps(const edge_engine* engine); /* default of edge_adapt */
EDGE_API const char* edge_engine_runtime_version(const edge_engine* engine);

/* Features of n inputs, any n >= 1.
 *   x         [n, input_size], finite; x_count = n * input_size
 *   features  [n, feature_size], written on success; features_count = n * feature_size */
EDGE_API edge_status edge_embed(const edge_engine* engine, const float* x, size_t x_count,
                                float* features, size_t features_count);

/* --- state: what was learned -------------------------------------------------------------------
 */

typedef struct edge_state edge_state; /* edge_state_release; never changes */

/* The bundle's starting point. */
EDGE_API edge_status edge_initial_state(const edge_engine* engine, edge_state** state);
EDGE_API void edge_state_release(edge_state* state);

/* Fill with edge_adapt_options_init, then change what should differ. */
typedef struct edge_adapt_options {
  size_t struct_size;   /* set by edge_adapt_options_init */
  const float* weights; /* [n], finite, >= 0, not all zero; NULL: all 1. 0 leaves an example out */
  size_t num_weights;   /* n, or 0 with NULL */
  int64_t steps;        /* 0: the bundle's; 1 unless it takes gradient steps */
  const edge_state* start; /* NULL: the bundle's starting point */
  /* NULL, or [steps]: nats before each step; of a closed form, after it. Of a sequential bundle one
   * for each example whose weight is not 0. */
  float* losses;
  size_t num_losses; /* as many, or 0 with NULL */
} edge_adapt_options;

EDGE_API void edge_adapt_options_init(edge_adapt_options* options);

/* Fits a state to n examples, n >= 1; `options` may be NULL. On any failure there is no new state.
 *   features  [n, feature_size], finite; features_count = n * feature_size
 *   slots     [n], each in 0..ways-1 */
EDGE_API edge_status edge_adapt(const edge_engine* engine, const float* features,
                                size_t features_count, const int64_t* slots, size_t num_slots,
                                const edge_adapt_options* options, edge_state** state);

/* edge_adapt for a bundle that learns values (a regression).
 *   targets  [n, outputs], finite; targets_count = n * outputs */
EDGE_API edge_status edge_adapt_values(const edge_engine* engine, const float* features,
                                       size_t features_count, const float* targets,
                                       size_t targets_count, const edge_adapt_options* options,
                                       edge_state** state);

/* Logits of n examples, n >= 1; slots that were never taught have -1e9. Of a bundle that learns
 * values, the mean of each.
 *   features     [n, feature_size], finite; features_count = n * feature_size
 *   predictions  [n, outputs], written on success; predictions_count = n * outputs */
EDGE_API edge_status edge_predict(const edge_engine* engine, const edge_state* state,
                                  const float* features, size_t features_count, float* predictions,
                                  size_t predictions_count);

/* The same with a variance, of the class probabilities or of the values; EDGE_INVALID_OPTION where
 * the bundle gives none.
 *   variance  [n, outputs], written on success; variance_count = n * outputs */
EDGE_API edge_status edge_predict_variance(const edge_engine* engine, const edge_state* state,
                                           const float* features, size_t features_count,
                                           float* predictions, size_t predictions_count,
                                           float* variance, size_t variance_count);

/* One tensor by name ("counts" has [ways] numbers: how many examples each slot rests on). `values`
 * lives as long as the state. EDGE_INVALID_OPTION for another name. */
EDGE_API edge_status edge_state_tensor(const edge_state* state, const char* name,
                                       const float** values, size_t* count);

/* The bytes of a state, the same for equal states; give them back with edge_bytes_free. */
EDGE_API edge_status edge_state_save(const edge_state* state, uint8_t** bytes, size_t* size);
/* Reads them for an engine with the same state tensors. EDGE_BAD_STATE for anything else. */
EDGE_API edge_status edge_state_load(const edge_engine* engine, const uint8_t* bytes, size_t size,
                                     edge_state** state);
EDGE_API void edge_bytes_free(uint8_t* bytes);

/* --- examples: what was taught, to store and to forget from ------------------------------------
 */

/* Features and slots of one user, in the order taught. A state is always f(bundle, examples), so an
 * app that stores these can forget exactly, and move to a new bundle with the same embed.onnx. */
typedef struct edge_examples edge_examples; /* edge_examples_release */

EDGE_API edge_status edge_examples_create(const edge_engine* engine, edge_examples** examples);
EDGE_API void edge_examples_release(edge_examples* examples);

/* Appends n examples, arrays as for edge_adapt; on failure the set is what it was. */
EDGE_API edge_status edge_examples_add(edge_examples* examples, const float* features,
                                       size_t features_count, const int64_t* slots,
                                       size_t num_slots);
/* Forgets all examples of `slot`; `removed`, if not NULL, gets how many there were. */
EDGE_API edge_status edge_examples_remove_slot(edge_examples* examples, int64_t slot,
                                               size_t* removed);
EDGE_API size_t edge_examples_count(const edge_examples* examples);
/* [count, feature_size] and [count], valid until the set is changed or released. */
EDGE_API const float* edge_examples_features(const edge_examples* examples);
EDGE_API const int64_t* edge_examples_slots(const edge_examples* examples);

/* edge_adapt on the examples of a set made for a bundle with the same embed.onnx. */
EDGE_API edge_status edge_adapt_examples(const edge_engine* engine, const edge_examples* examples,
                                         const edge_adapt_options* options, edge_state** state);

/* The bytes of a set, the same for equal sets; give them back with edge_bytes_free. */
EDGE_API edge_status edge_examples_save(const edge_examples* examples, uint8_t** bytes,
                                        size_t* size);
/* Reads them for an engine of a bundle with the same embed.onnx. EDGE_BAD_STATE for anything else.
 */
EDGE_API edge_status edge_examples_load(const edge_engine* engine, const uint8_t* bytes,
                                        size_t size, edge_examples** examples);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* EDGE_SDK_H */
