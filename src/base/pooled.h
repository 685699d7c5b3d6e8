// Pooled<T>: operator new and delete from a thread-local free list, for the small objects that eager makes and drops at
// every call (tensors, storages, tape records). A block goes to the list of the thread that frees it; lists are bounded.
#pragma once
#include <cstddef>
#include <new>

#include "base/sanitizer.h"

namespace phlox {

template <class T>
class Pooled {
 public:
#if !PHLOX_ASAN && !PHLOX_TSAN
  static void* operator new(size_t bytes) {
    List& l = list();
    if (bytes == sizeof(T) && l.head) {
      Block* b = l.head;
      l.head = b->next;
      --l.count;
      return b;
    }
    return ::operator new(bytes);
  }
  static void operator delete(void* p, size_t bytes) {
    List& l = list();
    if (bytes != sizeof(T) || l.count >= 4096 || l.closed) { ::operator delete(p); return; }
    Block* b = static_cast<Block*>(p);
    b->next = l.head;
    l.head = b;
    ++l.count;
  }

 private:
  struct Block { Block* next; };
  struct List {
    Block* head = nullptr;
    size_t count = 0;
    bool closed = false;  // the thread is ending: later frees go to the heap
    ~List() {
      closed = true;
      while (head) { Block* b = head; head = b->next; ::operator delete(b); }
    }
  };
  static List& list() {
    static thread_local List l;
    return l;
  }
#endif
};

}  // namespace phlox
