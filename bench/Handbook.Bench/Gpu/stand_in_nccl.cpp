// Stands in for NCCL where there are no GPUs: the calls that a process group makes of it, for processes of one machine and memory that they
// read themselves. What ranks exchange lies in memory that they share. It checks what NCCL would hang on or spoil: lengths and types that
// differ between ranks, messages without a partner, calls out of their order.

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr int kRanks = 8, kPiece = 1 << 16;
constexpr int kInvalidArgument = 4, kRemoteError = 6;

struct Mailbox {
  std::atomic<int> full;
  int64_t whole;  // bytes of the message
  int64_t bytes;  // of this piece
  char data[kPiece];
};

struct Shared {
  std::atomic<int> come, turn, waiting;
  struct Call {
    int kind, type, op, root;
    size_t count;
  } calls[kRanks];
  char slots[kRanks][kPiece];
  Mailbox boxes[kRanks][kRanks];  // from, to
};

struct Comm {
  Shared* shared;
  int rank, size;
};

struct Pending {
  Comm* comm;
  char* data;
  int64_t count, at;
  int peer;
  bool goes;
};

thread_local int g_depth = 0;
thread_local std::vector<Pending> g_pending;
thread_local std::string g_error = "unhandled error";

int refuse(const std::string& why, int status = kInvalidArgument) {
  g_error = why;
  return status;
}

size_t width(int type) {
  switch (type) {
    case 0:
    case 1:
      return 1;
    case 2:
    case 7:
      return 4;
    case 4:
    case 8:
      return 8;
    case 6:
    case 9:
      return 2;
    default:
      return 0;
  }
}

template <typename Ready>
bool wait(Ready&& ready) {
  timespec begun{}, now{};
  clock_gettime(CLOCK_MONOTONIC, &begun);
  while (!ready()) {
    sched_yield();
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - begun.tv_sec > 20) return false;
  }
  return true;
}

bool meet(Comm* comm) {
  auto& shared = *comm->shared;
  const int turn = shared.turn.load();
  if (shared.waiting.fetch_add(1) + 1 == comm->size) {
    shared.waiting = 0;
    shared.turn = turn + 1;
    return true;
  }
  return wait([&] { return shared.turn.load() != turn; });
}

float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

uint16_t narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename T>
void add(T* to, const T* from, size_t count, int op) {
  for (size_t i = 0; i < count; ++i)
    to[i] = op == 0 ? to[i] + from[i] : op == 2 ? (to[i] > from[i] ? to[i] : from[i]) : (to[i] < from[i] ? to[i] : from[i]);
}

bool combine(char* to, const char* from, size_t count, int type, int op) {
  switch (type) {
    case 2:
      add(reinterpret_cast<int32_t*>(to), reinterpret_cast<const int32_t*>(from), count, op);
      return true;
    case 4:
      add(reinterpret_cast<int64_t*>(to), reinterpret_cast<const int64_t*>(from), count, op);
      return true;
    case 7:
      add(reinterpret_cast<float*>(to), reinterpret_cast<const float*>(from), count, op);
      return true;
    case 8:
      add(reinterpret_cast<double*>(to), reinterpret_cast<const double*>(from), count, op);
      return true;
    case 9:
      for (size_t i = 0; i < count; ++i) {
        float mine = widen(reinterpret_cast<uint16_t*>(to)[i]), theirs = widen(reinterpret_cast<const uint16_t*>(from)[i]);
        add(&mine, &theirs, 1, op);
        reinterpret_cast<uint16_t*>(to)[i] = narrow(mine);
      }
      return true;
    default:
      return false;
  }
}

/// Every rank says what it calls, and sees that the others call the same.
int agree(Comm* comm, Shared::Call call) {
  comm->shared->calls[comm->rank] = call;
  if (!meet(comm)) return refuse("a rank did not come", kRemoteError);
  bool same = true;
  for (int rank = 0; rank < comm->size; ++rank) {
    const auto& other = comm->shared->calls[rank];
    same = same && other.kind == call.kind && other.type == call.type && other.op == call.op && other.root == call.root &&
           other.count == call.count;
  }
  if (!meet(comm)) return refuse("a rank did not come", kRemoteError);
  return same ? 0 : refuse("ranks call different collectives, or the same of other lengths or types");
}

/// Passes `count` elements of each rank by all others, piece by piece; `take` gets the piece of a rank.
template <typename Take>
int pass(Comm* comm, const char* mine, size_t bytes, Take&& take) {
  for (size_t at = 0; at < bytes; at += kPiece) {
    const size_t piece = bytes - at < kPiece ? bytes - at : kPiece;
    std::memcpy(comm->shared->slots[comm->rank], mine + at, piece);
    if (!meet(comm)) return refuse("a rank did not come", kRemoteError);
    for (int rank = 0; rank < comm->size; ++rank) take(rank, at, comm->shared->slots[rank], piece);
    if (!meet(comm)) return refuse("a rank did not come", kRemoteError);
  }
  return 0;
}

/// One step of a message; false where the other side is not ready.
bool step(Pending& message, int& status) {
  auto* comm = message.comm;
  auto& box = message.goes ? comm->shared->boxes[comm->rank][message.peer] : comm->shared->boxes[message.peer][comm->rank];
  if (message.goes) {
    if (box.full.load() != 0) return false;
    box.whole = message.count;
    box.bytes = message.count - message.at < kPiece ? message.count - message.at : kPiece;
    std::memcpy(box.data, message.data + message.at, box.bytes);
    message.at += box.bytes;
    box.full = 1;
    return true;
  }
  if (box.full.load() != 1) return false;
  if (box.whole != message.count) status = refuse("a message has another length than its receiver expects");
  std::memcpy(message.data + message.at, box.data, box.bytes);
  message.at += box.bytes;
  box.full = 0;
  return true;
}

int flush() {
  int status = 0;
  auto all = std::move(g_pending);
  g_pending.clear();
  const bool ended = wait([&] {
    bool open = false;
    // a peer's messages of one direction go one after the other
    bool busy[2][kRanks] = {};
    for (auto& message : all) {
      if (message.at >= message.count) continue;
      open = true;
      bool& taken = busy[message.goes ? 0 : 1][message.peer];
      if (!taken) step(message, status);
      taken = true;
    }
    return !open || status != 0;
  });
  return !ended ? refuse("a message has no partner", kRemoteError) : status;
}

int message(Comm* comm, char* data, size_t count, int type, int peer, bool goes) {
  if (peer < 0 || peer >= comm->size) return refuse("there is no such rank");
  g_pending.push_back({comm, data, static_cast<int64_t>(count * width(type)), 0, peer, goes});
  return g_depth > 0 ? 0 : flush();
}

}  // namespace

#define NCCL extern "C" __attribute__((visibility("default")))

NCCL const char* ncclGetErrorString(int) { return g_error.c_str(); }

struct Id {
  char internal[128];
};

NCCL int ncclGetUniqueId(Id* id) {
  static std::atomic<int> number{0};
  std::snprintf(id->internal, sizeof(id->internal), "/handbook-nccl-%d-%d", static_cast<int>(getpid()), number++);
  return 0;
}

NCCL int ncclCommInitRank(void** comm, int size, Id id, int rank) {
  if (size > kRanks || rank < 0 || rank >= size) return refuse("there are at most 8 ranks here");
  const int file = shm_open(id.internal, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared)) != 0) return refuse("no shared memory");
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return refuse("no shared memory");
  auto* made = new Comm{static_cast<Shared*>(memory), rank, size};
  made->shared->come.fetch_add(1);
  if (!wait([&] { return made->shared->come.load() >= size; })) return refuse("a rank did not come", kRemoteError);
  shm_unlink(id.internal);
  *comm = made;
  return 0;
}

NCCL int ncclCommDestroy(void* comm) {
  munmap(static_cast<Comm*>(comm)->shared, sizeof(Shared));
  delete static_cast<Comm*>(comm);
  return 0;
}

NCCL int ncclCommAbort(void*) { return 0; }

NCCL int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, void* handle, void*) {
  auto* comm = static_cast<Comm*>(handle);
  if (const int status = agree(comm, {1, type, op, 0, count})) return status;
  bool known = true;
  const std::vector<char> mine(static_cast<const char*>(from), static_cast<const char*>(from) + count * width(type));
  const int status = pass(comm, mine.data(), mine.size(), [&](int rank, size_t at, const char* piece, size_t bytes) {
    auto* target = static_cast<char*>(to) + at;
    if (rank == 0)
      std::memcpy(target, piece, bytes);
    else
      known = combine(target, piece, bytes / width(type), type, op) && known;
  });
  return status != 0 ? status : known ? 0 : refuse("this stand-in adds up no such type");
}

NCCL int ncclBroadcast(const void* from, void* to, size_t count, int type, int root, void* handle, void*) {
  auto* comm = static_cast<Comm*>(handle);
  if (const int status = agree(comm, {2, type, 0, root, count})) return status;
  const std::vector<char> mine(static_cast<const char*>(from), static_cast<const char*>(from) + count * width(type));
  return pass(comm, mine.data(), mine.size(), [&](int rank, size_t at, const char* piece, size_t bytes) {
    if (rank == root) std::memcpy(static_cast<char*>(to) + at, piece, bytes);
  });
}

NCCL int ncclAllGather(const void* from, void* to, size_t count, int type, void* handle, void*) {
  auto* comm = static_cast<Comm*>(handle);
  if (const int status = agree(comm, {3, type, 0, 0, count})) return status;
  const size_t each = count * width(type);
  const std::vector<char> mine(static_cast<const char*>(from), static_cast<const char*>(from) + each);
  return pass(comm, mine.data(), each, [&](int rank, size_t at, const char* piece, size_t bytes) {
    std::memcpy(static_cast<char*>(to) + rank * each + at, piece, bytes);
  });
}

NCCL int ncclReduceScatter(const void* from, void* to, size_t count, int type, int op, void* handle, void*) {
  auto* comm = static_cast<Comm*>(handle);
  if (const int status = agree(comm, {4, type, op, 0, count})) return status;
  const size_t each = count * width(type);
  const std::vector<char> mine(static_cast<const char*>(from), static_cast<const char*>(from) + each * comm->size);
  bool known = true;
  for (int part = 0; part < comm->size; ++part) {
    const int status = pass(comm, mine.data() + part * each, each, [&](int rank, size_t at, const char* piece, size_t bytes) {
      if (part != comm->rank) return;
      auto* target = static_cast<char*>(to) + at;
      if (rank == 0)
        std::memcpy(target, piece, bytes);
      else
        known = combine(target, piece, bytes / width(type), type, op) && known;
    });
    if (status != 0) return status;
  }
  return known ? 0 : refuse("this stand-in adds up no such type");
}

NCCL int ncclSend(const void* from, size_t count, int type, int peer, void* comm, void*) {
  return message(static_cast<Comm*>(comm), static_cast<char*>(const_cast<void*>(from)), count, type, peer, true);
}

NCCL int ncclRecv(void* to, size_t count, int type, int peer, void* comm, void*) {
  return message(static_cast<Comm*>(comm), static_cast<char*>(to), count, type, peer, false);
}

NCCL int ncclGroupStart() {
  ++g_depth;
  return 0;
}

NCCL int ncclGroupEnd() { return --g_depth > 0 ? 0 : flush(); }
