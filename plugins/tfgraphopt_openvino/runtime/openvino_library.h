// OpenVINO's C interface, opened at run time: the library of the installed package is found by path, nothing is linked.
#ifndef TFGRAPHOPT_OPENVINO_RUNTIME_OPENVINO_LIBRARY_H_
#define TFGRAPHOPT_OPENVINO_RUNTIME_OPENVINO_LIBRARY_H_

#include <dlfcn.h>

#include <memory>
#include <string>

#include "openvino/c/openvino.h"

namespace tfgo_openvino {

// The functions in use: name -> pointer of the type that OpenVINO's own header gives it.
#define TFGO_OPENVINO_FUNCTIONS(X)                                                                                                       \
  X(ov_core_create) X(ov_core_read_model_from_memory_buffer) X(ov_core_compile_model) X(ov_get_error_info) X(ov_get_last_err_msg)        \
  X(ov_model_reshape_by_port_indexes) X(ov_model_const_output_by_index) X(ov_model_inputs_size) X(ov_model_outputs_size) X(ov_model_free) \
  X(ov_port_get_partial_shape) X(ov_output_const_port_free) X(ov_partial_shape_create) X(ov_partial_shape_free)                          \
  X(ov_compiled_model_create_infer_request) X(ov_compiled_model_free) X(ov_infer_request_set_input_tensor_by_index)                      \
  X(ov_infer_request_set_output_tensor_by_index) X(ov_infer_request_infer) X(ov_infer_request_free)                                      \
  X(ov_tensor_create) X(ov_tensor_create_from_host_ptr) X(ov_tensor_data) X(ov_tensor_free)

struct Functions {
#define TFGO_DECLARE(name) decltype(&::name) name = nullptr;
  TFGO_OPENVINO_FUNCTIONS(TFGO_DECLARE)
#undef TFGO_DECLARE
};

// Opens the library; the text says why where it cannot be.
inline std::string OpenFunctions(const char* path, Functions* functions) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return dlerror();
#define TFGO_FIND(name) \
  if (!(functions->name = reinterpret_cast<decltype(&::name)>(dlsym(library, #name)))) return std::string("no function " #name " in ") + path;
  TFGO_OPENVINO_FUNCTIONS(TFGO_FIND)
#undef TFGO_FIND
  return "";
}

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

}  // namespace tfgo_openvino

#endif  // TFGRAPHOPT_OPENVINO_RUNTIME_OPENVINO_LIBRARY_H_
