// Pooled<T>: operator new and delete from a thread-local free list, for the small objects that eager makes and drops at
// every call (tensors, storages, tape records). A block goes to the list of the thread that frees it; lists are bounded.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>

#include "base/sanitizer.h"

namespace phlox {

template <class T>
class Pooled {
 public:
#if !PHLOX_ASAN && !PHLOX_TSAN
  static void* operator new(size_t bytes) {
    List& l = list;
    if (bytes == sizeof(T) && l.head) [[likely]] {
      Block* b = l.head;
      l.head = b->next;
      --l.count;
      return b;
    }
    return ::operator new(bytes);
  }
  static void operator delete(void* p, size_t bytes) {
    List& l = list;
    if (bytes != sizeof(T) || l.count >= limit || (!l.open && !open())) [[unlikely]] {
      ::operator delete(p);
      return;
    }
    Block* b = static_cast<Block*>(p);
    b->next = l.head;
    l.head = b;
    ++l.count;
  }

 private:
  static constexpr uint32_t limit = 4096;
  struct Block { Block* next; };
  struct List {
    Block* head;
    uint32_t count;
    bool open;    // blocks may be kept
    bool closed;  // the thread is ending: later frees go to the heap
  };
  struct Closer {  // frees the list when the thread ends
    ~Closer() {
      list.closed = true;
      list.open = false;
      while (list.head) { Block* b = list.head; list.head = b->next; ::operator delete(b); }
    }
  };
  // Before the first block is kept: sees to it that the list is freed with the thread.
  static bool open() {
    static thread_local Closer closer;
    (void)closer;
    return list.open = !list.closed;
  }
  // Without a constructor or destructor of its own, so that reaching it is one address.
  static thread_local constinit inline List list{};
#endif
};

}  // namespace phlox
