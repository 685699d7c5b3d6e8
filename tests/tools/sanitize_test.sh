#!/usr/bin/env bash
# usage: sanitize_test.sh address|thread BUILD   skipped unless PHLOX_CHECK_ALL is set
set -euo pipefail
[ -n "${PHLOX_CHECK_ALL:-}" ] || { echo "PHLOX_CHECK_ALL is not set"; exit 77; }
export PHLOX_COMPILER_PLUGIN=$2/lib/libphlox_compiler.so PHLOX_SANITIZE_BUILD=$2-$1
exec tools/sanitize "$1"
