// The C ABI between the engine op and an engine runtime (TensorRT, OpenVINO, a test's).
//
// A runtime is one table of functions (TfgoRuntime), registered in this process under the name that nodes carry in their attribute `runtime`.
// It can be written in any language: a native runtime is a shared library that exports a function returning the table
// (tfgo_register_native_runtime), a Python runtime fills the table with ctypes callbacks (tfgraphopt_trt.engine_op.register_runtime).
//
//   create_engine   plan bytes, device          -> engine     once per plan and device in a process, shared by all kernels that hold the plan
//   describe        engine                      -> numbers and types of inputs and outputs, number of profiles
//   resolve         engine, input shapes        -> the tightest profile that fits, output shapes, scratch bytes; or "does not fit"
//   create_context  engine, profile             -> context    pooled by the op; one call uses a context at a time
//   enqueue         context, stream, tensors    -> work put on the stream (GPU) or done (CPU)
//   destroy_context, destroy_engine, release
//
// Laws
// - Every function may be called from any thread; resolve and create_context concurrently on one engine, enqueue concurrently on different
//   contexts of one engine. Never concurrently on one context.
// - On a GPU the device's context is current during create_engine, create_context and enqueue. enqueue must not wait for the device: a context
//   is handed to the next call on the same stream as soon as enqueue has returned, and is never used on two streams.
// - destroy_context and destroy_engine are called when the device has finished all work put on it.
// - Pointers in arguments are valid during the call only, except device memory in enqueue, which is valid in stream order. A tensor with no
//   elements may have a NULL pointer.
// - Outputs in host memory are complete when enqueue returns: nobody waits for the stream before reading them.
// - A function that fails writes a text into `message` (tfgo_say) and returns a status, or NULL where it returns a handle. The op then runs the
//   TensorFlow body of the segment. No function may throw or exit.
// - Fields are only ever added at the end of a struct; `struct_size` says which are there. A change of meaning raises TFGO_ENGINE_ABI_VERSION.
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_ENGINE_RUNTIME_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_ENGINE_RUNTIME_H_

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TFGO_ENGINE_ABI_VERSION 1
#define TFGO_MAX_RANK 8  // TensorRT's limit; tensors of a higher rank stay in TensorFlow

// What a call came to.
enum {
  TFGO_OK = 0,
  TFGO_DOES_NOT_FIT = 1,  // resolve only: the shapes are outside every profile
  TFGO_ERROR = 2,
};

enum { TFGO_DEVICE_CPU = 0, TFGO_DEVICE_CUDA = 1 };

// Where a runtime writes why it failed: NUL-terminated, cut to `capacity` bytes.
typedef struct TfgoMessage {
  char* text;
  size_t capacity;
} TfgoMessage;

static inline void tfgo_say(TfgoMessage* message, const char* text) {
  if (message != NULL && message->capacity > 0) snprintf(message->text, message->capacity, "%s", text);
}

typedef struct TfgoDevice {
  int32_t kind;     // TFGO_DEVICE_*
  int32_t ordinal;  // CUDA device ordinal; 0 on the CPU
  int32_t threads;  // on the CPU, as many as TensorFlow gives one operation; 0: nobody says
} TfgoDevice;

// One tensor: dense, row-major. dtype is TensorFlow's DataType number (tensorflow/core/framework/types.proto).
typedef struct TfgoTensor {
  int32_t dtype;
  int32_t rank;
  int64_t dims[TFGO_MAX_RANK];
  void* data;       // in resolve: only host inputs' data, else NULL
  int32_t on_host;  // 1: `data` can be read by the CPU
} TfgoTensor;

// What an engine looks like; the arrays belong to the engine and live as long as it does.
typedef struct TfgoEngineInfo {
  size_t struct_size;
  int32_t num_inputs;
  int32_t num_outputs;
  int32_t num_profiles;
  const int32_t* input_dtypes;
  const int32_t* output_dtypes;
  const uint8_t* input_on_host;   // 1: a shape tensor: wanted in host memory, and resolve depends on its values. NULL: none is
  const uint8_t* output_on_host;  // 1: written in host memory. NULL: none is
} TfgoEngineInfo;

// What given inputs mean for an engine. `outputs` has num_outputs entries; resolve fills rank and dims.
typedef struct TfgoResolution {
  size_t struct_size;
  int32_t profile;
  size_t scratch_bytes;
  TfgoTensor* outputs;
} TfgoResolution;

// One run. `scratch` is on the device, 256-byte aligned, NULL where scratch_bytes is 0.
typedef struct TfgoCall {
  size_t struct_size;
  void* stream;  // CUstream of TensorFlow's device; NULL on the CPU
  const TfgoTensor* inputs;
  int32_t num_inputs;
  const TfgoTensor* outputs;
  int32_t num_outputs;
  void* scratch;
  size_t scratch_bytes;
  int32_t profile;
} TfgoCall;

typedef struct TfgoRuntime {
  uint32_t abi_version;  // TFGO_ENGINE_ABI_VERSION
  size_t struct_size;    // sizeof(TfgoRuntime)
  void* self;            // passed to create_engine and release
  void* (*create_engine)(void* self, const void* plan, size_t plan_bytes, const TfgoDevice* device, TfgoMessage* message);
  int32_t (*describe)(void* engine, TfgoEngineInfo* info, TfgoMessage* message);
  int32_t (*resolve)(void* engine, const TfgoTensor* inputs, int32_t num_inputs, TfgoResolution* resolution, TfgoMessage* message);
  void* (*create_context)(void* engine, int32_t profile, TfgoMessage* message);
  int32_t (*enqueue)(void* context, const TfgoCall* call, TfgoMessage* message);
  void (*destroy_context)(void* context);
  void (*destroy_engine)(void* engine);
  void (*release)(void* self);  // unregistered, and its last engine is gone; may be NULL
} TfgoRuntime;

// The function that a native runtime's library exports.
typedef const TfgoRuntime* (*TfgoRuntimeFactory)(void);

#ifdef __cplusplus
}
#endif

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_ENGINE_RUNTIME_H_
