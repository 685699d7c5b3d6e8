// The one root of process-wide state. Each subsystem's state is a function-local static reached through
// root_object<T>(): created on first use, in a defined order, and never destroyed, so that threads and user objects
// that outlive main() stay valid. There are no static initialisers anywhere else.
#pragma once

namespace phlox {

template <class T>
T& root_object() {
  static T* object = new T();
  return *object;
}

}  // namespace phlox
