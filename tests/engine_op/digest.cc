// The digest of plans, by the processor's instructions and without them, for the test that compares them with hashlib.
#include "sha256.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int has_instructions() { return tfgo::Sha256::HasInstructions(); }

EXPORT void digest(const char* data, size_t size, int instructions, char* text) {
  std::strcpy(text, tfgo::Sha256::Hex({data, size}, instructions != 0).c_str());
}
