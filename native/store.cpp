// The table of keys through which processes find each other: c10d's TCPStore.

#include "store.h"

#ifdef HB_C10D

#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "border.h"

using handbook::Error;
using handbook::guarded;
using handbook::store;
using handbook::StorePointer;
using std::chrono::milliseconds;

/// A store over TCP; the server's port may be 0, then `port` gets the one the system gave.
HB_API Error hb_store_open(const char* host, int* port, int serves, int timeout_ms, void** result) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(*port);
    options.isServer = serves != 0;
    options.waitWorkers = false;  // who has come is counted by name
    options.timeout = milliseconds(timeout_ms);
#if TORCH_VERSION_MAJOR >= 2
    options.useLibUV = false;  // some builds have none
#endif
    auto made = c10::make_intrusive<c10d::TCPStore>(host, options);
    *port = made->getPort();
    *result = new StorePointer(std::move(made));
  });
}

/// The same store, every key behind a prefix.
HB_API Error hb_store_prefix(void* handle, const char* prefix, void** result) {
  return guarded([&] { *result = new StorePointer(c10::make_intrusive<c10d::PrefixStore>(prefix, store(handle))); });
}

HB_API void hb_store_free(void* handle) { delete static_cast<StorePointer*>(handle); }

HB_API Error hb_store_set(void* handle, const char* key, const uint8_t* value, int64_t length) {
  return guarded([&] { store(handle)->set(key, std::vector<uint8_t>(value, value + length)); });
}

/// The value of a key that exists, in memory for hb_store_free_value.
HB_API Error hb_store_get(void* handle, const char* key, uint8_t** value, int64_t* length) {
  return guarded([&] {
    const auto bytes = store(handle)->get(key);
    *length = static_cast<int64_t>(bytes.size());
    *value = new uint8_t[bytes.size() + 1];
    std::copy(bytes.begin(), bytes.end(), *value);
  });
}

HB_API void hb_store_free_value(uint8_t* value) { delete[] value; }

HB_API Error hb_store_has(void* handle, const char* key, int* result) {
  return guarded([&] { *result = store(handle)->check({key}) ? 1 : 0; });
}

HB_API Error hb_store_add(void* handle, const char* key, int64_t value, int64_t* result) {
  return guarded([&] { *result = store(handle)->add(key, value); });
}

HB_API Error hb_store_delete(void* handle, const char* key, int* result) {
  return guarded([&] { *result = store(handle)->deleteKey(key) ? 1 : 0; });
}

#endif
