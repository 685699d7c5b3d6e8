#!/usr/bin/env bash
# usage: tidy_test.sh BUILD   skipped unless PHLOX_CHECK_ALL is set
set -euo pipefail
[ -n "${PHLOX_CHECK_ALL:-}" ] || { echo "PHLOX_CHECK_ALL is not set"; exit 77; }
PHLOX_BUILD=$1 exec tools/tidy
