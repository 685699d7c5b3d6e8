#!/usr/bin/env bash
# The full set of golden cases, from PHLOX_GOLDENS or ../shared/goldens beside the repository; skipped where it is absent.
# The graph interpreter runs all of them, eager and compiled code a tenth (PHLOX_GOLDENS_SEED chooses another one).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
main=$(cd "$(git -C "$root" rev-parse --path-format=absolute --git-common-dir 2>/dev/null || echo "$root/.git")/.." && pwd)
for folder in ${PHLOX_GOLDENS:-} "$root/../shared/goldens" "$main/../shared/goldens"; do
  [ -e "$folder/visible-float32.jsonl" ] || continue
  failed=0
  "$1" "$folder" --rate 0.98 --floor "$(cat "$root/tests/goldens/floor.txt")" | tail -40 || failed=1
  for engine in eager compiled; do
    echo "$engine:"
    "$1" "$folder" --engine "$engine" --fraction 0.1 --seed "${PHLOX_GOLDENS_SEED:-1}" --rate 0.98 | tail -20 || failed=1
  done
  exit "$failed"
done
exit 77
