// What every file of the C ABI shares: exported functions, and errors that are returned with the call.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>
#include <new>
#include <utility>

#define HB_API extern "C" __attribute__((visibility("default")))

namespace handbook {

/// Null where all went well, else a message that the caller gives back to hb_free_error.
using Error = char*;

inline char g_no_memory[] = "out of memory";

inline Error error_of(const char* message) {
  char* copy = strdup(message);
  return copy != nullptr ? copy : g_no_memory;
}

template <typename Body>
Error guarded(Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return error_of(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return g_no_memory;
  } catch (const std::exception& error) {
    return error_of(error.what());
  } catch (...) {
    return error_of("an exception of unknown type");
  }
}

/// Tensors cross the border as owned pointers.
inline at::Tensor* tensor(void* handle) { return static_cast<at::Tensor*>(handle); }

}  // namespace handbook
