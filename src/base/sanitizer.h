// PHLOX_ASAN and PHLOX_TSAN: 1 when this translation unit is built with that sanitizer, for the few places
// that must know (allocators, forks in tests). g++ defines a macro of its own, clang answers __has_feature.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define PHLOX_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PHLOX_ASAN 1
#endif
#endif
#ifndef PHLOX_ASAN
#define PHLOX_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define PHLOX_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PHLOX_TSAN 1
#endif
#endif
#ifndef PHLOX_TSAN
#define PHLOX_TSAN 0
#endif
