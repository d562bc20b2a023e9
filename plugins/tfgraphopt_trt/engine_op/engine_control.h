// The functions that the compiled engine op library exports to Python and C: runtimes and counters. All of them may be called from any thread.
#ifndef TFGRAPHOPT_TRT_ENGINE_OP_ENGINE_CONTROL_H_
#define TFGRAPHOPT_TRT_ENGINE_OP_ENGINE_CONTROL_H_

#include "engine_runtime.h"

#define TFGO_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

// The ABI version this library was compiled with.
TFGO_EXPORT uint32_t tfgo_abi_version(void);

// Register `runtime` (copied) under `name`. TFGO_ERROR with a message: the name is taken, the version differs, a function is missing.
TFGO_EXPORT int32_t tfgo_register_runtime(const char* name, const TfgoRuntime* runtime, TfgoMessage* message);

// dlopen `library`, call its function `symbol` (a TfgoRuntimeFactory) and register what it returns. The library is never closed.
TFGO_EXPORT int32_t tfgo_register_native_runtime(const char* name, const char* library, const char* symbol, TfgoMessage* message);

// Forget `name`; kernels run their TensorFlow body from their next call on. With abandon != 0 no function of the runtime is called ever again,
// destroy and release included: what it held leaks. That is for a runtime whose interpreter is going down. TFGO_ERROR: there is no such name.
TFGO_EXPORT int32_t tfgo_unregister_runtime(const char* name, int32_t abandon, TfgoMessage* message);

// Call `visit` with every counter that is not zero. Counters of a node: "engine_runs", "engines_created", "contexts_created",
// "fallback:<reason>".
typedef void (*TfgoCounterVisitor)(void* user, const char* node, const char* counter, uint64_t value);
TFGO_EXPORT void tfgo_visit_counters(TfgoCounterVisitor visit, void* user);

// Set every counter to zero; a reason that was said once is said once more.
TFGO_EXPORT void tfgo_reset_counters(void);

// Engines and contexts that are alive in this process, of all runtimes.
TFGO_EXPORT void tfgo_live_objects(int64_t* engines, int64_t* contexts);

#ifdef __cplusplus
}
#endif

#endif  // TFGRAPHOPT_TRT_ENGINE_OP_ENGINE_CONTROL_H_
